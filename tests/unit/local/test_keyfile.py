"""Key files: written once, private, and never opened with the wrong password."""

import getpass
import json
import os
import stat
import warnings
from pathlib import Path

import pytest
from eth_account import Account

from coordinator.local import keyfile as account
from coordinator.protocol.errors import KeyFileError


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "key.json"
    return path, account.create(path, "correct horse").address


def test_a_new_key_opens_with_its_password(key_file: tuple[Path, str]) -> None:
    path, address = key_file
    assert account.load(path, "correct horse").address == address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert account.address_of(path).lower() == address.lower()


def test_the_wrong_password_is_named(key_file: tuple[Path, str]) -> None:
    with pytest.raises(KeyFileError, match="wrong password"):
        account.load(key_file[0], "battery staple")


def test_a_key_file_is_never_overwritten(key_file: tuple[Path, str]) -> None:
    before = key_file[0].read_bytes()
    with pytest.raises(KeyFileError, match="exists already"):
        account.create(key_file[0], "other")
    assert key_file[0].read_bytes() == before


def test_a_key_others_can_read_is_refused(key_file: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "open.json"
    copy.write_bytes(key_file[0].read_bytes())
    copy.chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 0644"):
        account.load(copy, "correct horse")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "not JSON"),
        ("[" * 50_000, "not JSON"),
        (" " * 100_000, "100000 bytes"),
        ("[]", "no 'crypto'"),
        (json.dumps({"address": "00"}), "no 'crypto'"),
        (json.dumps({"crypto": []}), "no 'kdfparams'"),
        (json.dumps({"crypto": {"kdfparams": {"n": 1 << 30, "r": 8}}}), "at most 1024 MiB"),
        (json.dumps({"crypto": {"kdfparams": {"n": "1", "r": 8}}}), "n = '1'"),
    ],
    ids=["brace", "nested", "long", "list", "no-crypto", "no-kdf", "memory", "text"],
)
def test_a_file_that_is_no_keystore_is_refused(content: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(KeyFileError, match=found):
        account.load(path, "x")


def test_a_missing_file_and_an_empty_password_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        account.load(tmp_path / "none.json", "x")
    with pytest.raises(KeyFileError, match="empty password"):
        account.create(tmp_path / "new.json", "")
    assert not (tmp_path / "new.json").exists()


def test_the_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pw"
    file.write_text("from file\nignored\n")
    file.chmod(0o600)
    monkeypatch.setenv(account.PASSWORD_VARIABLE, "from environment")
    assert account.password_from(file, confirm=False) == "from file"
    assert account.password_from(None, confirm=False) == "from environment"
    file.write_text("")
    with pytest.raises(KeyFileError, match="empty"):
        account.password_from(file, confirm=False)
    file.write_bytes(b"secret\xff")
    with pytest.raises(KeyFileError, match=r"not UTF-8 text$"):
        account.password_from(file, confirm=False)
    with pytest.raises(KeyFileError, match="No such file"):
        account.password_from(tmp_path / "none", confirm=False)


def test_a_password_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pw"
    file.write_text("secret\n")
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="mode 0640 lets others read the password") as caught:
        account.password_from(file, confirm=False)
    assert "secret" not in str(caught.value)


def test_children_do_not_inherit_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(account.PASSWORD_VARIABLE, "secret")
    account.scrub_password()
    assert account.PASSWORD_VARIABLE not in os.environ
    account.scrub_password()


def test_the_password_is_asked_for_where_nothing_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(account.PASSWORD_VARIABLE, raising=False)
    answers = ["one", "one", "one", "other"]
    monkeypatch.setattr("getpass.getpass", lambda _prompt: answers.pop(0))
    assert account.password_from(None, confirm=True) == "one"
    with pytest.raises(KeyFileError, match="the two passwords differ"):
        account.password_from(None, confirm=True)

    def nobody(_prompt: str) -> str:
        raise EOFError

    def seen_by_all(_prompt: str) -> str:
        warnings.warn("Can not control echo", getpass.GetPassWarning, stacklevel=2)
        return "echoed"

    for answer in (nobody, seen_by_all):
        monkeypatch.setattr("getpass.getpass", answer)
        with pytest.raises(KeyFileError, match="no password: give --password-file, set FEDPROOF_"):
            account.password_from(None, confirm=False)


def light_keystore(key: bytes, **changes: object) -> dict[str, object]:
    """A version 3 keystore as other programs write it, with a cheap derivation."""
    stored: dict[str, object] = Account.encrypt(key, "pw", kdf="pbkdf2", iterations=10)
    return {**stored, **changes}


def write_key(path: Path, stored: object) -> Path:
    path.write_text(json.dumps(stored))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("prf", [1, None, [], {}])
def test_a_key_derivation_of_another_type_is_no_keystore(tmp_path: Path, prf: object) -> None:
    stored = json.loads(json.dumps(light_keystore(b"\x01" * 32)))
    stored["crypto"]["kdfparams"]["prf"] = prf
    with pytest.raises(KeyFileError, match="not a version 3 keystore"):
        account.load(write_key(tmp_path / "k", stored), "pw")


@pytest.mark.parametrize("part", ["cipherparams", "ciphertext", "mac", "kdf", "kdfparams"])
@pytest.mark.parametrize("value", [1, None, "x", [], {}])
def test_parts_of_another_type_are_named_mistakes(tmp_path: Path, part: str, value: object) -> None:
    stored = json.loads(json.dumps(light_keystore(b"\x01" * 32)))
    stored["crypto"][part] = value
    with pytest.raises(KeyFileError):
        account.load(write_key(tmp_path / "k", stored), "pw")


@pytest.mark.parametrize("version", [1, 2, "3", None, 3.5])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    path = write_key(tmp_path / "k", light_keystore(b"\x01" * 32, version=version))
    with pytest.raises(KeyFileError):
        account.load(path, "pw")


def test_a_keystore_without_an_address_opens_and_does_not_guess_one(tmp_path: Path) -> None:
    stored = light_keystore(b"\x01" * 32)
    address = Account.from_key(b"\x01" * 32).address
    del stored["address"]
    path = write_key(tmp_path / "k", stored)
    assert account.load(path, "pw").address == address
    with pytest.raises(KeyFileError, match="names no address; expected 40 hexadecimal digits"):
        account.address_of(path)


@pytest.mark.parametrize("named", ["", "0x", "00", "zz" * 20, 7, [], "0" * 41])
def test_an_address_that_is_none_is_named(tmp_path: Path, named: object) -> None:
    path = write_key(tmp_path / "k", light_keystore(b"\x01" * 32, address=named))
    for use in (account.address_of, lambda path: account.load(path, "pw")):
        with pytest.raises(KeyFileError, match="expected 40 hexadecimal digits"):
            use(path)


def test_an_address_that_is_not_the_keys_is_refused(tmp_path: Path) -> None:
    path = write_key(tmp_path / "k", light_keystore(b"\x01" * 32, address="00" * 20))
    with pytest.raises(KeyFileError, match=r"address is 0x0{40}, but the key in it is that of 0x"):
        account.load(path, "pw")
