"""Reading artifacts over HTTP: nothing of what comes is believed, or waited for without end."""

import hashlib
import socket
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from http_asking import Asker, samples
from http_bench import CONTRIBUTORS, NEWCOMER, HttpBench, embedded_bench
from misbehaving_server import answer, misbehaving
from service_bench import INITIAL, MANIFEST, vector
from tls_files import TlsFiles

from coordinator.http.server import serve_http
from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import BlobCorruptError, BlobMissingError, ConfigError, StoreError
from coordinator.stores import vector_file
from coordinator.stores.disk import DiskStore
from coordinator.stores.http import HttpStore, Reader, open_store

ROOT = parameter_root(INITIAL, MANIFEST)
FILE = b"".join(bytes(part) for part in vector_file.encode(INITIAL, MANIFEST.digest()))


@pytest.fixture(scope="module")
def store(quiet: Asker):
    opened = HttpStore(quiet.url, ca_file=quiet.ca)
    yield opened
    opened.close()


class TestReading:
    def test_it_reads_what_the_disk_has(self, store: HttpStore, quiet_bench: HttpBench) -> None:
        found, disk = quiet_bench.round(1), quiet_bench.store
        for root in (ROOT, found.new_model_root, quiet_bench.update_root(2)):
            assert np.array_equal(store.get_vector(root, MANIFEST), disk.get_vector(root, MANIFEST))
        for kind, root in (
            ("contributors", found.contributors_root),
            ("scores", found.scores_root),
            ("rewards", found.rewards_root),
            ("rule", found.rule_hash),
        ):
            assert store.get_document(kind, root) == disk.get_document(kind, root)
        name = quiet_bench.agreement.core_rule.manifest_hash
        assert store.get_bytes(name) == disk.get_bytes(name) == MANIFEST.to_json()
        assert store.get_agreement() == quiet_bench.agreement.canonical_json()

    def test_what_is_missing_is_named_with_its_url(self, store: HttpStore, quiet: Asker) -> None:
        for read, suffix in (
            (lambda: store.get_vector(b"\1" * 32, MANIFEST), "safetensors"),
            (lambda: store.get_document("rewards", b"\1" * 32), "rewards.json"),
            (lambda: store.get_bytes(b"\1" * 32), "bin"),
        ):
            with pytest.raises(BlobMissingError) as missing:
                read()
            assert str(missing.value).startswith(f"{quiet.url}/blobs/{'01' * 32}.{suffix}: ")

    def test_it_is_for_reading(self, store: HttpStore) -> None:
        for write in (
            lambda: store.put_bytes(b"x"),
            lambda: store.put_document("json", bytes(32), {}),
            lambda: store.put_vector(INITIAL, MANIFEST, ROOT),
        ):
            with pytest.raises(StoreError, match="open for reading only"):
                write()
        store.sync()

    def test_connections_are_kept(self, store: HttpStore, quiet_bench: HttpBench) -> None:
        pool = store._client._pool.pools  # type: ignore[attr-defined]
        before = sum(p.num_connections for p in (pool[key] for key in pool.keys()))  # noqa: SIM118
        for _ in range(5):
            store.get_vector(ROOT, MANIFEST)
        after = sum(p.num_connections for p in (pool[key] for key in pool.keys()))  # noqa: SIM118
        assert after - before <= 1

    def test_a_name_that_is_no_digest(self, store: HttpStore) -> None:
        with pytest.raises(StoreError, match="expected 32 bytes, found 3"):
            store.get_bytes(b"abc")

    def test_tampered_on_the_coordinators_disk(
        self, bench: HttpBench, asker: Asker, tls: TlsFiles
    ) -> None:
        bench.play()
        path = bench.store.path(bench.update_root(0), "safetensors")
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(BlobCorruptError, match="content hashes to"):
            HttpStore(asker.url, ca_file=tls.ca).get_vector(bench.update_root(0), MANIFEST)


class TestHostileServers:
    @pytest.mark.parametrize(
        ("said", "message"),
        [
            (answer(FILE[:-1]), f"{len(FILE) - 1} bytes, expected {len(FILE)}"),
            (answer(FILE + b"\0"), f"{len(FILE) + 1} bytes, expected at most {len(FILE)}"),
            (answer(FILE[:-1] + b"\1"), "content hashes to"),
            (answer(b"X" * len(FILE)), "header is not that of a vector"),
            (answer(b""), f"0 bytes, expected {len(FILE)}"),
        ],
    )
    def test_wrong_vectors(self, said: bytes, message: str) -> None:
        with misbehaving([said]) as server, pytest.raises(BlobCorruptError, match=message):
            HttpStore(server.url).get_vector(ROOT, MANIFEST)

    def test_wrong_documents_and_bytes(self) -> None:
        other = canonical_json({"rewards": [["0x" + "11" * 20, "5"]]})
        with misbehaving([answer(other)]) as server:
            store = HttpStore(server.url)
            with pytest.raises(BlobCorruptError, match="content hashes to"):
                store.get_document("rewards", bytes(32))
            with pytest.raises(BlobCorruptError, match="content hashes to"):
                store.get_bytes(bytes(32))
        with (
            misbehaving([answer(b"[" * 50_000)]) as server,
            pytest.raises(BlobCorruptError, match="nested"),
        ):
            HttpStore(server.url).get_document("rewards", bytes(32))

    def test_three_gigabytes_announced_are_not_read(self) -> None:
        huge = answer(b"x" * 1000, Content_Length=str(3 * 10**9))
        with misbehaving([huge]) as server:
            with pytest.raises(BlobCorruptError, match="3000000000 bytes, expected at most"):
                HttpStore(server.url).get_vector(ROOT, MANIFEST)
            assert len(server.asked) == 1  # and not asked for again

    def test_nor_is_an_endless_answer(self) -> None:
        sent = 0

        def endless(connection: socket.socket) -> None:
            nonlocal sent
            connection.sendall(b"HTTP/1.1 200 X\r\n\r\n")
            while True:
                sent += connection.send(bytes(1 << 20))

        limit = 8 << 20
        with misbehaving([endless]) as server:
            tracemalloc.start()
            with pytest.raises(BlobCorruptError, match=f"more than the {limit} bytes expected"):
                HttpStore(server.url, max_bytes=limit).get_bytes(bytes(32))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 4 * limit
        assert sent < 200 << 20

    def test_a_drip_is_cut_off(self) -> None:
        def drip(connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n")
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)

        with misbehaving([drip]) as server:
            store = HttpStore(server.url, max_bytes=100, timeout_s=0.4)
            with pytest.raises(StoreError, match="no answer in time"):
                store.get_bytes(bytes(32))

    def test_silence_is_cut_off(self) -> None:
        with misbehaving([lambda connection: time.sleep(0.5)]) as server:
            store = HttpStore(server.url, timeout_s=0.1)
            with pytest.raises(StoreError, match="no answer in time"):
                store.get_bytes(bytes(32))

    def test_redirects_and_compression_are_not_followed(self) -> None:
        away = answer(b"", 302, Location="http://127.0.0.1:9/")
        with misbehaving([away]) as server:
            with pytest.raises(StoreError, match="status 302"):
                HttpStore(server.url).get_bytes(bytes(32))
            assert len(server.asked) == 1
            assert "accept-encoding: identity" in server.asked[0].lower()

    def test_what_a_refusal_says_is_cleaned_and_short(self) -> None:
        text = '{"error": "\\u001b[31mred' + "x" * 5000 + '"}'
        with (
            misbehaving([answer(text.encode(), 500)]) as server,
            pytest.raises(StoreError) as refused,
        ):
            HttpStore(server.url).get_bytes(bytes(32))
        assert "\x1b" not in str(refused.value)
        assert len(str(refused.value)) < 500


class TestRetries:
    def test_broken_connections_are_tried_again(self) -> None:
        broken = answer(FILE)[:-5]
        with misbehaving([b"", broken, answer(FILE)]) as server:
            assert np.array_equal(HttpStore(server.url).get_vector(ROOT, MANIFEST), INITIAL)
            assert len(server.asked) == 3

    def test_a_busy_server_is_asked_again(self) -> None:
        with misbehaving([answer(b"{}", 429), answer(b"{}", 503), answer(FILE)]) as server:
            assert np.array_equal(HttpStore(server.url).get_vector(ROOT, MANIFEST), INITIAL)
            assert len(server.asked) == 3

    @pytest.mark.parametrize("status", [400, 403, 404, 500])
    def test_other_answers_are_final(self, status: int) -> None:
        with misbehaving([answer(b'{"error": "no"}', status), answer(FILE)]) as server:
            with pytest.raises(StoreError):
                HttpStore(server.url).get_vector(ROOT, MANIFEST)
            assert len(server.asked) == 1

    def test_at_some_point_it_gives_up_and_says_why(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StoreError, match="connection refused; nothing listens there") as gone:
            HttpStore(url).get_bytes(bytes(32))
        assert str(gone.value).startswith(url)
        assert gone.value.exit_code == 6


class TestMembers:
    @pytest.fixture
    def bench(self, tmp_path: Path):
        with embedded_bench(tmp_path, "members") as made:
            made.play()
            yield made

    def test_it_signs_for_vectors_only(self, bench: HttpBench) -> None:
        reader = Reader(bench.federation.domain, bytes(CONTRIBUTORS[0].key))
        with misbehaving([answer(FILE)]) as server:
            store = HttpStore(server.url, reader=reader)
            store.get_vector(ROOT, MANIFEST)
            with pytest.raises(BlobCorruptError):
                store.get_bytes(bytes(32))
            assert "authorization: fedproof 0x" in server.asked[0].lower()
            assert "authorization" not in server.asked[1].lower()
        assert bytes(CONTRIBUTORS[0].key).hex() not in repr(reader)

    def test_a_bonded_account_reads_an_other_does_not(self, bench: HttpBench) -> None:
        with serve_http(bench.context()) as handle:
            for account, message in (
                (None, "401: no-authorization"),
                (NEWCOMER, "403: not-bonded"),
            ):
                reader = account and Reader(bench.federation.domain, bytes(account.key))
                with pytest.raises(StoreError, match=message):
                    HttpStore(handle.url, reader=reader).get_vector(bench.update_root(1), MANIFEST)
            reader = Reader(bench.federation.domain, bytes(CONTRIBUTORS[0].key))
            found = HttpStore(handle.url, reader=reader).get_vector(bench.update_root(1), MANIFEST)
            assert np.array_equal(found, vector(bench.value(1)))

    @pytest.mark.parametrize("off_s", [-3600, 3600])
    def test_a_clock_an_hour_off_reads_all_the_same(self, bench: HttpBench, off_s: int) -> None:
        reader = Reader(bench.federation.domain, bytes(CONTRIBUTORS[0].key))
        with serve_http(bench.context()) as handle:
            store = HttpStore(handle.url, reader=reader, clock=lambda: time.time() + off_s)
            for number in (0, 1):
                store.get_vector(bench.update_root(number), MANIFEST)
            requests = bench_requests(handle.url)
        # the first is refused and repeated by the server's clock, the second is right at once
        assert (requests["401"], requests["200"]) == (1, 2)


def bench_requests(url: str) -> dict[str, int]:
    """How blobs were answered so far, by status."""
    found: dict[str, int] = {}
    for name, count in samples(Asker(url).ask("/metrics").data.decode()).items():
        if name.startswith('fedproof_http_requests_total{route="blobs"'):
            found[name.split('status="')[1][:3]] = int(count)
    return found


class TestOpening:
    def test_a_url_or_a_folder(self, tmp_path: Path, quiet: Asker) -> None:
        assert isinstance(open_store(quiet.url, ca_file=quiet.ca), HttpStore)
        for inside in ("a", "b/blobs", "c/state/blobs"):
            folder = tmp_path / inside
            folder.mkdir(parents=True)
            digest = DiskStore(folder).put_bytes(b"hello")
            opened = open_store(tmp_path / inside.split("/")[0])
            end = time.monotonic() + 20
            while not DiskStore(folder).path(digest, "bin").exists():
                assert time.monotonic() < end
            assert opened.get_bytes(hashlib.sha256(b"hello").digest()) == b"hello"

    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("https://", "expected http://HOST:PORT"),
            ("http://[::1", "not a URL"),
            ("/no/such/folder", "no such folder"),
            ("ftp://host", "no such folder"),
        ],
    )
    def test_what_is_neither(self, where: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            open_store(where)

    def test_authorities_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no certificate")
        for name, message in (("none", "No such file"), ("text", "holds no PEM certificate")):
            with pytest.raises(ConfigError, match=message):
                HttpStore("https://127.0.0.1:1", ca_file=tmp_path / name)
