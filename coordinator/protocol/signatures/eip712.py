"""EIP-712 signatures: secp256k1, low-s, valid for one contract on one chain.

For updates, for smaller statements of contributors (presence, commitments, read requests), and for
the coordinator's instructions. Not handled: key files (``coordinator.local.keyfile``), and checking
the content of statements (``screening``, ``statements``, ``protocol.instructions``).

References
----------
EIP-712 (typed data), EIP-55 (address checksum), EIP-2 (low s), SEC 1 (recovery).
"""

from dataclasses import dataclass
from typing import Any

import coincurve

from coordinator.protocol.abi import address_word, bytes32_word, uint_word
from coordinator.protocol.errors import SignatureError
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.types import (
    SIGNATURE_BYTES,
    Address,
    AnyStatement,
    Commitment,
    Presence,
    ReadRequest,
    RoundId,
    RoundInstruction,
    Signed,
    SigningDomain,
    Statement,
    UpdateMessage,
)

DOMAIN_NAME = "Fedproof"
DOMAIN_VERSION = "1"
DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
UPDATE_TYPE = (
    b"Update(uint64 round,bytes32 baseModel,bytes32 update,uint64 examples,bytes32 metricsHash)"
)
PRESENCE_TYPE = b"Presence(uint64 nodeId,uint64 expiry)"
COMMITMENT_TYPE = b"Commitment(uint64 round,bytes32 commitment)"
READ_TYPE = b"Read(bytes32 blob,uint64 expiry)"
INSTRUCTION_TYPE = (
    b"Instruction(uint64 round,uint8 phase,bytes32 baseModel,bytes32 ruleHash,uint64 deadline,"
    b"bytes32 content)"
)
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_DOMAIN_TYPE_HASH = keccak256(DOMAIN_TYPE)
_UPDATE_TYPE_HASH = keccak256(UPDATE_TYPE)
_PRESENCE_TYPE_HASH = keccak256(PRESENCE_TYPE)
_COMMITMENT_TYPE_HASH = keccak256(COMMITMENT_TYPE)
_READ_TYPE_HASH = keccak256(READ_TYPE)
_INSTRUCTION_TYPE_HASH = keccak256(INSTRUCTION_TYPE)
_NAME_HASH = keccak256(DOMAIN_NAME.encode())
_VERSION_HASH = keccak256(DOMAIN_VERSION.encode())
_V_OFFSET = 27

# coincurve carries no annotations of its own.
_PrivateKey: Any = coincurve.PrivateKey
_PublicKey: Any = coincurve.PublicKey


def checksum_address(address: bytes) -> Address:
    """Return the EIP-55 text of a 20-byte address.

    Raises
    ------
    SignatureError
        ``bad-address`` if the address is not 20 bytes.

    Examples
    --------
    >>> checksum_address(bytes.fromhex("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"))
    '0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed'
    """
    if len(address) != 20:
        raise SignatureError(
            f"address has {len(address)} bytes, expected 20",
            code="bad-address",
            found=address.hex(),
            expected="20 bytes",
        )
    text = address.hex()
    mask = keccak256(text.encode()).hex()
    cased = (c.upper() if int(m, 16) >= 8 else c for c, m in zip(text, mask, strict=False))
    return Address("0x" + "".join(cased))


def address_of_key(private_key: bytes) -> Address:
    """Return the address of a 32-byte private key.

    Raises
    ------
    SignatureError
        ``bad-key`` if it is not a secp256k1 private key.
    """
    return _address_of(_key(private_key).public_key)


def domain_separator(domain: SigningDomain) -> bytes:
    """Return the EIP-712 domain separator, 32 bytes."""
    return keccak256(
        _DOMAIN_TYPE_HASH
        + _NAME_HASH
        + _VERSION_HASH
        + uint_word(domain.chain_id, 256, "chain id")
        + address_word(domain.verifying_contract, "verifying contract")
    )


def sealed_commitment(
    domain: SigningDomain, round_id: RoundId, sender: Address, salt: bytes, update_root: bytes
) -> bytes:
    """Return a contributor's commitment to its update in a sealed round, 32 bytes.

    ``keccak256(abi.encode(bytes32 domain separator, uint64 round, address sender, bytes32 salt,
    bytes32 update root))``.

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    return keccak256(
        domain_separator(domain)
        + uint_word(round_id, 64, "round")
        + address_word(sender, "sender")
        + bytes32_word(salt, "salt")
        + bytes32_word(update_root, "update root")
    )


def statement_digest(domain: SigningDomain, statement: AnyStatement) -> bytes:
    """Return the 32 bytes that are signed: ``keccak256(0x1901 | separator | struct hash)``.

    Raises
    ------
    VerificationError
        If a field does not fit its ABI type.
    """
    struct_hash = keccak256(_struct(statement))
    return keccak256(b"\x19\x01" + domain_separator(domain) + struct_hash)


def _struct(statement: AnyStatement) -> bytes:
    match statement:
        case UpdateMessage():
            return b"".join(
                (
                    _UPDATE_TYPE_HASH,
                    uint_word(statement.round_id, 64, "round"),
                    bytes32_word(statement.base_model, "base model"),
                    bytes32_word(statement.update, "update"),
                    uint_word(statement.examples, 64, "examples"),
                    bytes32_word(statement.metrics_hash, "metrics hash"),
                )
            )
        case Presence():
            node = uint_word(statement.node_id, 64, "node id")
            return _PRESENCE_TYPE_HASH + node + uint_word(statement.expiry, 64, "expiry")
        case Commitment():
            commitment = bytes32_word(statement.commitment, "commitment")
            number = uint_word(statement.round_id, 64, "round")
            return _COMMITMENT_TYPE_HASH + number + commitment
        case ReadRequest():
            blob = bytes32_word(statement.blob, "blob")
            return _READ_TYPE_HASH + blob + uint_word(statement.expiry, 64, "expiry")
        case RoundInstruction():
            return b"".join(
                (
                    _INSTRUCTION_TYPE_HASH,
                    uint_word(statement.round_id, 64, "round"),
                    uint_word(statement.phase, 8, "phase"),
                    bytes32_word(statement.base_model, "base model"),
                    bytes32_word(statement.rule_hash, "rule hash"),
                    uint_word(statement.deadline, 64, "deadline"),
                    bytes32_word(statement.content, "content"),
                )
            )


def sign_statement(
    domain: SigningDomain, statement: Statement, private_key: bytes
) -> Signed[Statement]:
    """Return the signed statement.

    The signature is deterministic (RFC 6979), low-s, 65 bytes ``r | s | v``.

    Raises
    ------
    SignatureError
        ``bad-key`` if the key is not a secp256k1 private key; the message does not contain it.
    VerificationError
        If a field of the statement does not fit its ABI type.
    """
    key = _key(private_key)
    signature = _sign(key, statement_digest(domain, statement))
    return Signed(_address_of(key.public_key), statement, signature)


def recover_signer(domain: SigningDomain, signed: Signed[Statement]) -> Address:
    """Return the address whose key made the signature; ``signed.signer`` is not read.

    Raises
    ------
    SignatureError
        ``bad-signature-length``, ``bad-signature-v``, ``high-s``, or ``unrecoverable``.
    VerificationError
        If a field of the statement does not fit its ABI type.
    """
    digest = statement_digest(domain, signed.statement)
    return _recover(digest, signed.signature, _claimed(signed))


def verify_statement(domain: SigningDomain, signed: Signed[Statement]) -> None:
    """Check that ``signed.signer`` signed the statement for this domain.

    Raises
    ------
    SignatureError
        ``wrong-signer``, or any code of :func:`recover_signer`.
    VerificationError
        If a field of the statement does not fit its ABI type.
    """
    _check_signer(recover_signer(domain, signed), signed.signer, _claimed(signed))


@dataclass(frozen=True, slots=True)
class _Claimed:
    place: str
    round_id: int | None = None


def _claimed(signed: Signed[Any]) -> _Claimed:
    statement = signed.statement
    if isinstance(statement, UpdateMessage):
        round_id = int(statement.round_id)
        return _Claimed(f"round {round_id}: signature of {signed.signer}", round_id)
    if isinstance(statement, RoundInstruction):
        round_id = int(statement.round_id)
        return _Claimed(f"round {round_id}: instruction signed by {signed.signer}", round_id)
    place = f"{type(statement).__name__.lower()} signature of {signed.signer}"
    return _Claimed(place, int(statement.round_id) if isinstance(statement, Commitment) else None)


def _check_signer(found: Address, expected: Address, claimed: _Claimed) -> None:
    if found != expected:
        raise _refusal(claimed, "wrong-signer", f"signed by {found}", expected)


def _sign(key: Any, digest: bytes) -> bytes:
    raw: bytes = key.sign_recoverable(digest, hasher=None)
    return raw[:64] + bytes([raw[64] + _V_OFFSET])


def _recover(digest: bytes, signature: bytes, claimed: _Claimed) -> Address:
    if len(signature) != SIGNATURE_BYTES:
        raise _refusal(claimed, "bad-signature-length", f"{len(signature)} bytes", "65 bytes")
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    if signature[64] not in (27, 28):
        raise _refusal(claimed, "bad-signature-v", f"v = {signature[64]}", "v of 27 or 28")
    if s > CURVE_ORDER // 2:
        raise _refusal(claimed, "high-s", "s in the upper half", "s in the lower half of the order")
    if not (0 < r < CURVE_ORDER and s > 0):
        raise _refusal(claimed, "unrecoverable", "r or s out of range", "a secp256k1 signature")
    compact = signature[:64] + bytes([signature[64] - _V_OFFSET])
    try:
        public = _PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except Exception as error:  # coincurve raises bare Exception
        raise _refusal(claimed, "unrecoverable", "no such point", "a signature") from error
    return _address_of(public)


def _key(private_key: bytes) -> Any:
    try:
        if len(private_key) == 32:
            return _PrivateKey(bytes(private_key))
    except ValueError:
        pass
    raise SignatureError(
        "private key is not 32 bytes between 1 and the order of secp256k1, exclusive",
        code="bad-key",
        expected="a secp256k1 private key",
    )


def _address_of(public_key: Any) -> Address:
    point: bytes = public_key.format(compressed=False)
    return checksum_address(keccak256(point[1:])[12:])


def _refusal(claimed: _Claimed, code: str, found: str, expected: str) -> SignatureError:
    return SignatureError(
        f"{claimed.place}: found {found}, expected {expected}",
        code=code,
        round_id=claimed.round_id,
        found=found,
        expected=expected,
    )
