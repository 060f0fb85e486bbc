"""Connections: TLS or nothing, no free rides for the slow, and no one takes all there is."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from http_asking import Asker
from http_bench import HttpBench
from tls_files import TlsFiles, make_tls

from coordinator.http import tls as tls_module
from coordinator.http.limits import HttpLimits
from coordinator.http.server import HttpHandle, serve_http
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.errors import ConfigError, StoreError
from coordinator.stores.http import HttpStore

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, however; waits for it."""
    try:
        while connection.recv(4096):
            continue
    except ConnectionError:
        pass
    return True


def end_shown(asker: Asker) -> float:
    """Return what the metrics say of the certificate."""
    lines = asker.ask("/metrics").data.decode().splitlines()
    (line,) = (one for one in lines if one.startswith("fedproof_certificate_end_seconds "))
    return float(line.split()[1])


def end_of(files: TlsFiles) -> float:
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    return found.not_valid_after_utc.timestamp()


@pytest.fixture(autouse=True)
def every_reason_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "_quiet_until", {})


class TestTls:
    def test_plain_http_is_refused_and_both_sides_say_why(
        self, quiet: Asker, caplog: pytest.LogCaptureFixture
    ) -> None:
        plain = f"http://127.0.0.1:{quiet.port}"
        with caplog.at_level(logging.WARNING, "coordinator.http.tls"):
            with pytest.raises(StoreError, match="closed the connection without an answer"):
                HttpStore(plain).get_bytes(bytes(32))
            until(lambda: bool(caplog.records))
        assert "plain HTTP on the TLS port; it has to say https://" in caplog.text
        assert len(caplog.records) == 1  # four attempts, one line: no flood
        assert quiet.ask("/healthz").status == 200

    def test_garbage_is_refused(self, quiet: Asker, caplog: pytest.LogCaptureFixture) -> None:
        with (
            caplog.at_level(logging.WARNING, "coordinator.http.tls"),
            socket.create_connection(("127.0.0.1", quiet.port), timeout=20) as raw,
        ):
            raw.sendall(b"\x00" * 64)
            assert ended(raw)
        assert "refused a connection" in caplog.text

    @pytest.mark.parametrize("name", ["another authority", "test authority"])
    def test_an_authority_that_is_not_ours(
        self, quiet: Asker, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        other = make_tls(tmp_path / "other", authority=name)
        with (
            caplog.at_level(logging.WARNING, "coordinator.http.tls"),
            pytest.raises(StoreError, match="certificate is not trusted"),
        ):
            HttpStore(quiet.url, ca_file=other.ca).get_bytes(bytes(32))
        until(lambda: "does not trust our certificate" in caplog.text)

    def test_a_certificate_for_another_name(self, quiet_bench: HttpBench, tmp_path: Path) -> None:
        files = make_tls(tmp_path, names=("elsewhere.example",), addresses=())
        with (
            serve_http(
                quiet_bench.context(), certfile=files.certificate, keyfile=files.key
            ) as handle,
            pytest.raises(StoreError, match="IP address mismatch"),
        ):
            HttpStore(handle.url, ca_file=files.ca).get_bytes(bytes(32))

    def test_old_versions_of_tls_are_refused(self, quiet: Asker) -> None:
        context = ssl.create_default_context(cafile=str(quiet.ca))
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with (
            socket.create_connection(("127.0.0.1", quiet.port), timeout=20) as raw,
            pytest.raises(ssl.SSLError),
        ):
            context.wrap_socket(raw, server_hostname="localhost")
        with quiet.raw() as spoken:
            assert isinstance(spoken, ssl.SSLSocket)
            assert spoken.version() in ("TLSv1.2", "TLSv1.3")

    @pytest.mark.parametrize(
        ("days", "message"), [((-30, -1), "expired on 20"), ((1, 30), "not valid before 20")]
    )
    def test_a_certificate_that_is_not_valid_now(
        self,
        quiet_bench: HttpBench,
        tmp_path: Path,
        days: tuple[float, float],
        message: str,
    ) -> None:
        files = make_tls(tmp_path, days=days)
        with pytest.raises(ConfigError, match=message):
            serve_http(quiet_bench.context(), certfile=files.certificate, keyfile=files.key)

    def test_files_that_cannot_be_used_are_named(
        self, quiet_bench: HttpBench, tls: TlsFiles, tmp_path: Path
    ) -> None:
        other, missing = make_tls(tmp_path), tmp_path / "none.pem"
        text = tmp_path / "text.pem"
        text.write_text("not PEM")
        for certificate, key, message in (
            (missing, tls.key, "none.pem: No such file"),
            (tls.certificate, missing, "none.pem: No such file"),
            (text, tls.key, "text.pem: not a PEM certificate"),
            (tls.certificate, other.key, "cannot be used together"),
        ):
            with pytest.raises(ConfigError, match=message):
                serve_http(quiet_bench.context(), certfile=certificate, keyfile=key)

    def test_a_renewed_certificate_is_used_without_a_restart(
        self, quiet_bench: HttpBench, tls: TlsFiles, tmp_path: Path
    ) -> None:
        renewed, old = (
            make_tls(tmp_path / "new", days=(-1, 80)),
            make_tls(tmp_path / "old", days=(-9, -1)),
        )
        with serve_http(quiet_bench.context(), certfile=tls.certificate, keyfile=tls.key) as handle:
            assert end_shown(Asker(handle.url, tls.ca)) == end_of(tls)
            for unusable in ((old.certificate, old.key), (renewed.certificate, old.key)):
                with pytest.raises(ConfigError, match=r"expired|cannot be used"):
                    handle.renew_certificate(*unusable)
            assert end_shown(Asker(handle.url, tls.ca)) == end_of(tls)
            handle.renew_certificate(renewed.certificate, renewed.key)
            assert end_shown(Asker(handle.url, renewed.ca)) == end_of(renewed)
            with pytest.raises(ssl.SSLCertVerificationError):
                Asker(handle.url, tls.ca).ask("/healthz")
        with (
            serve_http(quiet_bench.context()) as plain,
            pytest.raises(ConfigError, match="nothing to renew"),
        ):
            plain.renew_certificate(renewed.certificate, renewed.key)


LIMITS = HttpLimits(
    requests_per_client=2,
    connections_per_client=5,
    header_s=0.3,
    body_s=0.3,
    write_s=0.3,
    keep_alive_s=1,
)


class TestSlowPeers:
    @pytest.fixture
    def limited(self, quiet_bench: HttpBench) -> Iterator[HttpHandle]:
        with serve_http(quiet_bench.context(limits=LIMITS)) as handle:
            yield handle

    def test_headers_must_come_in_time(self, limited: HttpHandle) -> None:
        for said in (b"", GET, GET + b"X-A: b"):
            with Asker(limited.url).raw() as connection:
                connection.sendall(said)
                assert ended(connection)

    def test_one_byte_now_and_then_does_not_help(self, limited: HttpHandle) -> None:
        def drip(connection: socket.socket) -> None:
            for _ in range(400):
                connection.sendall(b"G")
                time.sleep(0.02)

        with Asker(limited.url).raw() as connection, pytest.raises(OSError, match=r"reset|pipe"):
            drip(connection)

    def test_nor_after_a_first_request(self, limited: HttpHandle) -> None:
        with Asker(limited.url).raw() as connection:
            connection.sendall(GET + b"\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            connection.sendall(GET)  # and never the end of it
            assert ended(connection)

    def test_a_body_must_come_in_time(self, limited: HttpHandle) -> None:
        head = b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with Asker(limited.url).raw() as connection:
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
            assert b" 408 " in connection.recv(4096)
            assert ended(connection)

    def test_a_body_nobody_asked_for_ends_the_connection(self, limited: HttpHandle) -> None:
        with Asker(limited.url).raw() as connection:
            connection.sendall(GET + b"Content-Length: 1000000\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            assert ended(connection)

    def test_idle_connections_are_closed(self, limited: HttpHandle) -> None:
        with Asker(limited.url).raw() as connection:
            connection.sendall(GET + b"\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            assert ended(connection)

    def test_headers_are_bounded(self, limited: HttpHandle) -> None:
        with Asker(limited.url).raw() as connection:
            connection.sendall(GET + b"X-Long: " + b"a" * 40_000)
            assert b" 400 " in connection.recv(4096)
            assert ended(connection)

    def test_an_answer_must_be_taken_in_time(
        self, limited: HttpHandle, quiet_bench: HttpBench, caplog: pytest.LogCaptureFixture
    ) -> None:
        quiet_bench.snapshot = ServiceSnapshot("x" * 64_000_000)  # more than any socket buffers
        try:
            with caplog.at_level(logging.WARNING), Asker(limited.url).raw() as connection:
                connection.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
                until(lambda: "too slow in reading" in caplog.text)
        finally:
            quiet_bench.snapshot = ServiceSnapshot("waiting")


class TestShares:
    def test_one_address_holds_only_so_many_connections(self, quiet_bench: HttpBench) -> None:
        limits = HttpLimits(connections_per_client=3)
        with serve_http(quiet_bench.context(limits=limits)) as handle:
            held = [Asker(handle.url).raw() for _ in range(3)]
            for connection in held:
                connection.sendall(GET + b"\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
            with Asker(handle.url).raw() as fourth:
                assert ended(fourth)
            for connection in held:
                connection.close()

            def is_free() -> bool:
                try:
                    return Asker(handle.url).ask("/healthz").status == 200
                except ConnectionError:
                    return False

            until(is_free)

    def test_and_only_so_many_requests_at_a_time(self, quiet_bench: HttpBench) -> None:
        entered, leave = threading.Semaphore(0), threading.Event()

        def slow() -> ServiceSnapshot:
            entered.release()
            assert leave.wait(20)
            return ServiceSnapshot("waiting")

        limits = HttpLimits(requests_per_client=2)
        with serve_http(quiet_bench.context(limits=limits, status=slow)) as handle:
            asker = Asker(handle.url)
            found: list[int] = []
            busy = [
                threading.Thread(target=lambda: found.append(asker.ask("/status").status))
                for _ in range(2)
            ]
            for thread in busy:
                thread.start()
            for _ in busy:
                assert entered.acquire(timeout=20)
            refused = asker.ask("/healthz")
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            leave.set()
            for thread in busy:
                thread.join(20)
            assert found == [200, 200]
            assert asker.ask("/healthz").status == 200

    def test_a_header_does_not_make_another_client(self, quiet_bench: HttpBench) -> None:
        told = quiet_bench.context()
        with serve_http(told) as handle:
            Asker(handle.url).ask("/healthz", headers={"X-Forwarded-For": "10.0.0.1"})
        limits = HttpLimits(requests_per_client=0)
        with serve_http(quiet_bench.context(limits=limits)) as handle:
            for number in range(3):
                sent = {"X-Forwarded-For": f"10.0.0.{number}"}
                assert Asker(handle.url).ask("/healthz", headers=sent).status == 429


class TestStopping:
    def test_idle_connections_do_not_hold_it_up(
        self, quiet_bench: HttpBench, tls: TlsFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        handle = serve_http(quiet_bench.context(), certfile=tls.certificate, keyfile=tls.key)
        asker = Asker(handle.url, tls.ca)
        idle = [asker.raw() for _ in range(3)]
        for connection in idle[:2]:
            connection.sendall(GET + b"\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert handle.is_alive
        handle.stop()
        handle.stop()
        assert not handle.is_alive
        for connection in idle:
            connection.close()
        assert "timeout graceful shutdown exceeded" not in caplog.text
        with pytest.raises(ConnectionError):
            asker.ask("/healthz")
        with serve_http(quiet_bench.context(), port=asker.port) as again:
            assert Asker(again.url).ask("/healthz").status == 200
