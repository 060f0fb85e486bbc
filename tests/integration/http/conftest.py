from collections.abc import Iterator
from pathlib import Path

import pytest
from http_asking import Asker
from http_bench import HttpBench, embedded_bench
from tls_files import TlsFiles, make_tls

from coordinator.http.server import HttpHandle, serve_http


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[HttpBench]:
    with embedded_bench(tmp_path) as made:
        yield made


@pytest.fixture
def served(bench: HttpBench, tls: TlsFiles) -> Iterator[HttpHandle]:
    with serve_http(bench.context(), certfile=tls.certificate, keyfile=tls.key) as handle:
        yield handle


@pytest.fixture
def asker(served: HttpHandle, tls: TlsFiles) -> Asker:
    return Asker(served.url, tls.ca)


@pytest.fixture(scope="module")
def quiet_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpBench]:
    """A federation for a whole module: one round played, and nothing that changes it."""
    with embedded_bench(tmp_path_factory.mktemp("quiet")) as made:
        made.play()
        yield made


@pytest.fixture(scope="module")
def quiet(quiet_bench: HttpBench, tls: TlsFiles) -> Iterator[Asker]:
    with serve_http(quiet_bench.context(), certfile=tls.certificate, keyfile=tls.key) as handle:
        yield Asker(handle.url, tls.ca)
