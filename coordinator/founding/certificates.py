"""Makes a federation's own certificate authority, its server certificate, and SuperNode keys.

All certificates are signed by one authority that only this federation trusts, so no public one is
needed, and others are refused. Keys are EC (P-256 for TLS; P-384 for SuperNodes, in the OpenSSH
format that Flower reads). Not handled: revocation; after the theft of a server key a new authority
is made.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coordinator.protocol.errors import ConfigError

AUTHORITY_DAYS: Final = 3_652
SERVER_DAYS: Final = 730
CLOCK_SKEW: Final = timedelta(days=1)
"""Certificates are valid from this long before now, since a participant's clock may be slow."""
NODE_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_NAME_CHARS: Final = 64
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
WILDCARDS: Final = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True, repr=False)
class KeyAndCertificate:
    """A private key (PKCS 8, not encrypted) and its certificate, both PEM."""

    key: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True, repr=False)
class NodeKey:
    """A SuperNode's key pair: OpenSSH private key, and public key as one line without newline."""

    private: bytes
    public: str


def make_authority(federation: str, now: datetime | None = None) -> KeyAndCertificate:
    """Make a certificate authority for ten years, which may sign servers but no authorities."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{federation} authority")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyAndCertificate(_key_pem(key), certificate.public_bytes(serialization.Encoding.PEM))


def make_server(
    authority: KeyAndCertificate,
    names: Sequence[str],
    *,
    now: datetime | None = None,
    days: int = SERVER_DAYS,
    key: bytes | None = None,
) -> KeyAndCertificate:
    """Make a server's certificate for host names and IP addresses.

    Parameters
    ----------
    names
        At least one; the first is also the subject.
    days
        Days that it is valid, at most until the authority expires.
    key
        PEM of the key to certify, or ``None`` for a new one.

    Raises
    ------
    ConfigError
        If a name is neither, or the authority is malformed, has expired, or its key and
        certificate do not belong together.
    """
    now = now or datetime.now(UTC)
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    signer, issuer = _open_authority(authority, now)
    own = ec.generate_private_key(ec.SECP256R1()) if key is None else _private_key(key, "server")
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    certificate = (
        _builder(_name(names[0]), issuer.subject, own.public_key(), now, 0)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return KeyAndCertificate(_key_pem(own), certificate.public_bytes(serialization.Encoding.PEM))


def with_local(names: Sequence[str], host: str = "") -> list[str]:
    """Return names for a certificate, with the local ones of the coordinator's machine added.

    ``host`` is the address it listens on; commands on that machine use the local names.
    """
    own = [host] if host and host not in WILDCARDS else []
    return list(dict.fromkeys([*names, *own, *_LOCAL]))


def names_of(certificate: bytes) -> list[str]:
    """Return the host names and addresses of a certificate, in its order.

    Raises
    ------
    ConfigError
        If it is malformed, or names no host.
    """
    parsed = _certificate(certificate, "server")
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise ConfigError("server certificate: it names no host") from error
    return [str(name.value) for name in names]


def end_of(certificate: bytes) -> datetime:
    """Return the last second a certificate is valid; raises ``ConfigError`` if it is malformed."""
    return _certificate(certificate, "server").not_valid_after_utc


def make_node_key(comment: str) -> NodeKey:
    """Make a SuperNode's key pair, with a comment for readers of the file."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    return NodeKey(private, f"{_public_line(key.public_key())} {comment}")


def read_node_key(text: bytes, source: str) -> str:
    """Return a SuperNode's public key as one line, checked; ``source`` is named in errors.

    Raises
    ------
    ConfigError
        If it is not an OpenSSH public key on a NIST curve (``ssh-keygen -t ecdsa -b 384``).
    """
    expected = "expected one line of an OpenSSH public key (ssh-keygen -t ecdsa -b 384)"
    try:
        line = text.decode("ascii").strip()
        key = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{source}: {expected}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, NODE_CURVES):
        raise ConfigError(f"{source}: {line.split(' ')[0]} key, {expected}")
    comment = " ".join(line.split(" ")[2:])
    shown = "".join(c for c in comment if " " <= c <= "~")[:256]
    return f"{_public_line(key)} {shown}".strip()


# --- parts --------------------------------------------------------------------------------------


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    return builder.not_valid_after(now + timedelta(days=days)) if days else builder


def _usage(**uses: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names.split()})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_NAME_CHARS])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.removeprefix("*.").split(".")
    if not all(_is_label(label) for label in labels) or len(name) > 253:
        raise ConfigError(f'host.names: "{name}" is neither a host name nor an IP address')
    return x509.DNSName(name)


def _is_label(text: str) -> bool:
    inner = text.replace("-", "").replace("_", "")
    edges = not text.startswith("-") and not text.endswith("-")
    return inner.isascii() and inner.isalnum() and edges and len(text) <= 63


def _open_authority(
    authority: KeyAndCertificate, now: datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    certificate = _certificate(authority.certificate, "authority")
    key = _private_key(authority.key, "authority")
    if key.public_key() != certificate.public_key():
        raise ConfigError("authority: its key and its certificate do not belong together")
    if now >= certificate.not_valid_after_utc:
        raise ConfigError(f"authority: it expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return key, certificate


def _certificate(pem: bytes, owner: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise ConfigError(f"{owner} certificate: not a PEM certificate") from error


def _private_key(pem: bytes, owner: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{owner} key: not a PEM private key without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{owner} key: expected an elliptic-curve key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public_line(key: ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.OpenSSH
    return key.public_bytes(serialization.Encoding.OpenSSH, form).decode()
