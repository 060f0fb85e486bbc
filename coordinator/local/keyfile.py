"""Makes and opens encrypted key files of participants and coordinators.

Files are Web3 Secret Storage version 3 (scrypt, AES-128-CTR), which geth and MetaMask read too. A
key file or a password file that other users may read is refused. Not handled: the keys of
simulations, which are derived from a seed and never written to disk.
"""

import getpass
import json
import os
import re
import stat
import warnings
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from coordinator.local.files import PRIVATE, create_file
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import KeyFileError, VerificationError

MAX_KEY_FILE_BYTES = 1 << 16
MAX_SCRYPT_BYTES = 1 << 30
"""Most memory that opening a key file may take; those of geth take 256 MiB."""
PASSWORD_VARIABLE = "FEDPROOF_PASSWORD"


def create(path: Path, password: str) -> LocalAccount:
    """Make a new key and write its encrypted file with mode 0600; never overwrite.

    Raises
    ------
    KeyFileError
        If the file exists, cannot be written, or the password is empty.
    """
    if not password:
        raise KeyFileError(f"{path}: an empty password protects nothing; choose another")
    account: LocalAccount = Account.create()
    _write_private(path, json.dumps(Account.encrypt(account.key, password)).encode())
    return account


def _write_private(path: Path, text: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        create_file(path, [text], mode=PRIVATE)
    except FileExistsError as error:
        raise KeyFileError(f"{path}: exists already; a key file is never overwritten") from error
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error


def load(path: Path, password: str) -> LocalAccount:
    """Open a key file.

    Raises
    ------
    KeyFileError
        If it is missing, readable by others, not a keystore, names another address than its
        key's, or the password is wrong.
    """
    stored = _read(path)
    try:
        key = Account.decrypt(stored, password)
    except ValueError as error:
        raise KeyFileError(f"{path}: wrong password, or the file is damaged") from error
    except (KeyError, TypeError, AttributeError, NotImplementedError, OverflowError) as error:
        raise KeyFileError(f"{path}: not a version 3 keystore: {error}") from error
    account: LocalAccount = Account.from_key(key)
    named = _named_address(stored, path)
    if named is not None and named.lower() != account.address.lower():
        raise KeyFileError(
            f"{path}: address is {named}, but the key in it is that of {account.address}; "
            "expected both to agree"
        )
    return account


def address_of(path: Path) -> str:
    """Return the address that a key file names, without opening the key.

    Raises
    ------
    KeyFileError
        If the file is unusable, or names no address (the standard makes it optional).
    """
    named = _named_address(_read(path), path)
    if named is None:
        raise KeyFileError(
            f"{path}: names no address; expected 40 hexadecimal digits as 'address' "
            "('fedproof account show' opens the key and prints its address)"
        )
    return named


def _named_address(stored: dict[str, Any], path: Path) -> str | None:
    """Return the address that a keystore names, or ``None``; the standard makes it optional."""
    named = stored.get("address")
    if named is None:
        return None
    digits = named.removeprefix("0x") if isinstance(named, str) else ""
    if not re.fullmatch(r"[0-9a-fA-F]{40}", digits):
        raise KeyFileError(f"{path}: address is {named!r}, expected 40 hexadecimal digits")
    return "0x" + digits


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_private(path, "the key")
        data = path.read_bytes()
        if len(data) > MAX_KEY_FILE_BYTES:
            raise KeyFileError(f"{path}: {len(data)} bytes, expected a version 3 keystore")
        stored = parse_json(data.removeprefix(BOM_UTF8), str(path))
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error
    except VerificationError as error:
        raise KeyFileError(f"{path}: not JSON, expected a version 3 keystore") from error
    if not isinstance(stored, dict) or "crypto" not in {k.lower() for k in stored}:
        raise KeyFileError(f"{path}: no 'crypto' section, expected a version 3 keystore")
    _check_memory(stored, path)
    return stored


def _check_private(path: Path, content: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileError(
            f"{path}: mode {mode:04o} lets others read {content}, expected 0600 (chmod 600)"
        )


def _check_memory(stored: dict[str, Any], path: Path) -> None:
    """Refuse a file whose key derivation would take too much memory."""
    crypto = next(value for name, value in stored.items() if name.lower() == "crypto")
    parameters = crypto.get("kdfparams") if isinstance(crypto, dict) else None
    if not isinstance(parameters, dict):
        raise KeyFileError(f"{path}: no 'kdfparams', expected a version 3 keystore")
    n, r = parameters.get("n", 0), parameters.get("r", 0)
    if type(n) is not int or type(r) is not int or 128 * n * r > MAX_SCRYPT_BYTES:
        raise KeyFileError(
            f"{path}: key derivation asks for n = {n!r}, r = {r!r}, expected at most "
            f"{MAX_SCRYPT_BYTES >> 20} MiB of memory"
        )


def password_from(password_file: Path | None, *, confirm: bool) -> str:
    """Return the password from a file, the environment, or a prompt; never from arguments.

    Parameters
    ----------
    password_file
        File whose first line is the password, or ``None``.
    confirm
        Whether to prompt twice, for a new key.

    Raises
    ------
    KeyFileError
        If the file cannot be read, others may read it, or the two answers differ.
    """
    if password_file is not None:
        return _password_in(password_file)
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    try:
        with warnings.catch_warnings():  # no prompt on a terminal that would show the password
            warnings.simplefilter("error", getpass.GetPassWarning)
            password = getpass.getpass("Password: ")
            if confirm and getpass.getpass("Again: ") != password:
                raise KeyFileError("the two passwords differ")
    except (EOFError, getpass.GetPassWarning) as error:
        raise KeyFileError(
            f"no password: give --password-file, set {PASSWORD_VARIABLE}, or run in a terminal"
        ) from error
    return password


def _password_in(path: Path) -> str:
    try:
        _check_private(path, "the password")
        return path.read_text("utf-8-sig").splitlines()[0]
    except IndexError as error:
        raise KeyFileError(f"{path}: empty, expected the password") from error
    except OSError as error:
        raise KeyFileError(
            f"{path}: cannot read the password: {error.strerror or error}"
        ) from error
    except UnicodeDecodeError as error:
        # The decoder's own message would quote bytes of the password.
        raise KeyFileError(f"{path}: cannot read the password: not UTF-8 text") from error


def scrub_password() -> None:
    """Remove the password from this process's environment, so that no child inherits it."""
    os.environ.pop(PASSWORD_VARIABLE, None)
