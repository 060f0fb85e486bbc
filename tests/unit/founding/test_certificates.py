"""Certificates that TLS accepts for their names only, and keys that Flower reads."""

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from coordinator.founding.certificates import (
    KeyAndCertificate,
    end_of,
    make_authority,
    make_node_key,
    make_server,
    names_of,
    read_node_key,
    with_local,
)
from coordinator.protocol.errors import ConfigError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def write(folder: Path, name: str, made: KeyAndCertificate) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(made.certificate)
    key.write_bytes(made.key)
    return certificate, key


def shake_hands(
    folder: Path, server: KeyAndCertificate, trusted: KeyAndCertificate, name: str
) -> str:
    """Return the TLS version of a real handshake on loopback, or why it failed."""
    certificate, key = write(folder, "server", server)
    authority, _ = write(folder, "ca", trusted)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    asking = ssl.create_default_context(cafile=str(authority))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            taken, _ = listening.accept()
            with taken:
                try:
                    serving.wrap_socket(taken, server_side=True).close()
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            plain = socket.create_connection(listening.getsockname(), 10)
            with plain, asking.wrap_socket(plain, server_hostname=name) as secure:
                return str(secure.version())
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message)
        finally:
            thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "fed.example.org"])
def test_tls_accepts_it_for_its_names(tmp_path: Path, name: str) -> None:
    authority = make_authority("heart")
    names = ["localhost", "127.0.0.1", "::1", "fed.example.org"]
    server = make_server(authority, names)
    assert names_of(server.certificate) == names
    assert shake_hands(tmp_path, server, authority, name) == "TLSv1.3"


def test_tls_refuses_other_names_other_authorities_and_the_past(tmp_path: Path) -> None:
    authority, other = make_authority("heart"), make_authority("heart")
    server = make_server(authority, ["localhost"])
    assert "Hostname mismatch" in shake_hands(tmp_path, server, authority, "example.org")
    assert "IP address mismatch" in shake_hands(tmp_path, server, authority, "127.0.0.1")
    assert "unable to get local issuer" in shake_hands(tmp_path, server, other, "localhost")
    old = datetime.now(UTC) - timedelta(days=10)
    expired = make_server(authority, ["localhost"], now=old, days=5)
    assert "expired" in shake_hands(tmp_path, expired, authority, "localhost")


def test_lifetimes_and_what_each_may_do() -> None:
    authority = make_authority("heart", NOW)
    ca = x509.load_pem_x509_certificate(authority.certificate)
    assert ca.not_valid_after_utc == NOW + timedelta(days=3652)
    assert ca.not_valid_before_utc == NOW - timedelta(days=1)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
        True,
        True,
        0,
    )
    made = make_server(authority, ["a.example", "10.0.0.1"], now=NOW)
    assert end_of(made.certificate) == NOW + timedelta(days=730)
    server = x509.load_pem_x509_certificate(made.certificate)
    server.verify_directly_issued_by(ca)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    san = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["a.example"]
    assert san.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.1")]


def test_a_server_never_outlives_its_authority() -> None:
    authority = make_authority("heart", NOW)
    late = NOW + timedelta(days=3600)
    made = make_server(authority, ["a.example"], now=late)
    assert end_of(made.certificate) == NOW + timedelta(days=3652)
    with pytest.raises(ConfigError, match="expired on 2036-04-30"):
        make_server(authority, ["a.example"], now=NOW + timedelta(days=3653))


def test_renewing_keeps_the_key() -> None:
    authority = make_authority("heart", NOW)
    first = make_server(authority, ["a.example"], now=NOW)
    second = make_server(authority, ["b.example"], now=NOW, key=first.key)
    assert second.key == first.key
    assert names_of(second.certificate) == ["b.example"]
    assert make_server(authority, ["a.example"], now=NOW).key != first.key


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä.example", "a..b", "http://a", "a" * 64])
def test_what_is_no_host_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"host\.names: .*neither a host name nor an IP"):
        make_server(make_authority("heart"), [name])


def test_the_machine_itself_is_always_among_the_names() -> None:
    local = ["localhost", "127.0.0.1", "::1"]
    assert with_local(["fed.example.org"], "0.0.0.0") == ["fed.example.org", *local]
    assert with_local(["fed.example.org"], "10.0.0.5") == ["fed.example.org", "10.0.0.5", *local]
    assert with_local(["127.0.0.1"], "127.0.0.1") == ["127.0.0.1", "localhost", "::1"]


def test_mixed_up_or_broken_files_are_named() -> None:
    one, two = make_authority("one"), make_authority("two")
    with pytest.raises(ConfigError, match="do not belong together"):
        make_server(KeyAndCertificate(one.key, two.certificate), ["localhost"])
    with pytest.raises(ConfigError, match="authority certificate: not a PEM"):
        make_server(KeyAndCertificate(one.key, b"nonsense"), ["localhost"])
    with pytest.raises(ConfigError, match="authority key: not a PEM private key"):
        make_server(KeyAndCertificate(b"nonsense", one.certificate), ["localhost"])
    with pytest.raises(ConfigError, match="it names no host"):
        names_of(one.certificate)


# --- SuperNode keys -----------------------------------------------------------------------------


def test_flower_reads_the_node_keys(tmp_path: Path) -> None:
    from flwr.cli.supernode.register import try_load_public_key
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes, uses_nist_ec_curve

    made = make_node_key("hospital a")
    path = tmp_path / "node.key.pub"
    path.write_text(made.public + "\n")
    private = serialization.load_ssh_private_key(made.private, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert uses_nist_ec_curve(private.public_key())
    assert try_load_public_key(path) == public_key_to_bytes(private.public_key())
    assert made.public.endswith(" hospital a")


def test_openssh_reads_them_too(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen on this machine")
    made = make_node_key("a")
    path = tmp_path / "node.key"
    path.write_bytes(made.private)
    path.chmod(0o600)
    done = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[:2] == made.public.split()[:2]


def test_a_public_key_is_normalised() -> None:
    line = make_node_key("somebody@somewhere  here").public
    assert read_node_key(f"  {line}\n".encode(), "x.pub") == line
    bare = " ".join(line.split(" ")[:2])
    assert read_node_key(bare.encode(), "x.pub") == bare


def test_other_keys_are_refused() -> None:
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    other = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*form)
    with pytest.raises(ConfigError, match=r"x\.pub: ssh-ed25519 key, expected one line"):
        read_node_key(other, "x.pub")
    for nonsense in (b"", b"nonsense", b"\xff\xfe", make_node_key("a").private):
        with pytest.raises(ConfigError, match=r"x\.pub: expected one line of an OpenSSH"):
            read_node_key(nonsense, "x.pub")
