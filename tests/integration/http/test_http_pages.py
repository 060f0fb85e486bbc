"""Status, health, readiness, metrics, agreement; and who may ask at all."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from http_asking import Asker, samples
from http_bench import CONTRIBUTORS, ETHER, HttpBench, embedded_bench
from tls_files import TlsFiles

from contracts.binding.rpc import Rpc
from contracts.node.rpc import Dispatcher
from coordinator.http.server import serve_http
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.errors import ChainUnavailableError, ConfigError
from coordinator.settings.agreement import agreement_from
from coordinator.settings.evaluation import Evaluation


def test_the_agreement_is_the_one_on_chain(asker: Asker, bench: HttpBench) -> None:
    answer = asker.ask("/federation")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    agreement = agreement_from(answer.data, "served")
    assert agreement.digest == bench.federation.terms.config_digest
    assert answer.data == bench.agreement.canonical_json()


def test_status_says_how_the_service_and_the_chain_are(asker: Asker, bench: HttpBench) -> None:
    bench.play()
    bench.begin()
    bench.snapshot = ServiceSnapshot(
        *("collecting", 2, ("0xA", "0xB"), (), {"superlink": "running (pid 3)"}),
        errors=("a node left",),
        out_of_step=("0xB",),
    )
    said = asker.ask("/status").json
    assert (said["phase"], said["round"], said["ready"]) == ("collecting", 2, True)
    assert said["contributors"] == {
        "online": ["0xA", "0xB"], "out_of_step": ["0xB"], "bonded": 3, "members": 3
    }  # fmt: skip
    assert said["errors"] == ["a node left"]
    assert said["children"] == {"superlink": "running (pid 3)"}
    chain = said["chain"]
    assert (chain["last_opened"], chain["last_sealed"], chain["last_final"]) == (2, 1, 1)
    assert chain["rounds"] == {"open": 1, "sealed": 0, "settled": 0, "final": 1, "void": 0}
    assert chain["hash"] == "0x" + bench.federation.block().hash.hex()
    assert chain["pool_wei"] == str(27 * ETHER)
    assert chain["bonded_wei"] == str(6 * ETHER)


def test_readiness_names_what_is_missing_and_health_does_not_care(
    asker: Asker, bench: HttpBench
) -> None:
    assert (asker.ask("/readyz").status, asker.ask("/healthz").status) == (200, 200)
    bench.snapshot = ServiceSnapshot("starting", not_ready=("SuperLink: not listening yet",))
    answer = asker.ask("/readyz")
    assert answer.status == 503
    assert answer.json["reasons"] == ["SuperLink: not listening yet"]
    assert asker.ask("/healthz").json == {"status": "ok"}
    assert samples(asker.ask("/metrics").data.decode())["fedproof_ready"] == 0


def test_a_chain_that_is_away_is_a_reason_not_an_error(
    asker: Asker, bench: HttpBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ChainUnavailableError("node http://10.0.0.1: connection refused")

    monkeypatch.setattr(Rpc, "block", away)
    assert asker.ask("/readyz").json["reasons"] == [
        "chain: node http://10.0.0.1: connection refused"
    ]
    said = asker.ask("/status").json
    assert (said["ready"], said["chain"], said["contributors"]["bonded"]) == (False, None, None)
    assert "fedproof_chain_head_block" not in samples(asker.ask("/metrics").data.decode())
    missing = asker.ask(f"/blobs/{'11' * 32}.safetensors")
    assert (missing.status, missing.headers["retry-after"]) == (503, "2")
    known = asker.ask(f"/blobs/{bench.agreement.initial_model_root}.safetensors")
    assert known.status == 200  # what is known to be public needs no chain


def test_metrics_count_what_happened(asker: Asker, bench: HttpBench) -> None:
    before = samples(asker.ask("/metrics").data.decode())
    assert before['fedproof_rounds{status="final"}'] == 0
    bench.play()
    asker.rpc("eth_blockNumber")
    asker.rpc("admin_peers")
    blob = asker.ask(f"/blobs/{bench.update_root(0).hex()}.safetensors")
    answer = asker.ask("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = samples(answer.data.decode())
    assert after['fedproof_rounds{status="final"}'] == 1
    assert after["fedproof_bonded_stake_wei"] == 6 * ETHER
    assert after["fedproof_coordinator_bond_wei"] == 5 * ETHER
    assert after["fedproof_unclaimed_wei"] == 3 * ETHER
    assert after["fedproof_chain_head_block"] == bench.federation.block().number
    assert after['fedproof_rpc_requests_total{class="read",outcome="ok"}'] == 1
    assert after['fedproof_rpc_requests_total{class="unknown",outcome="refused"}'] == 1
    assert after['fedproof_http_sent_bytes_total{route="blobs"}'] == len(blob.data)


class TestEvaluations:
    @pytest.fixture
    def evaluating(self, tmp_path: Path) -> Iterator[tuple[HttpBench, Asker]]:
        with (
            embedded_bench(tmp_path, evaluation=Evaluation()) as bench,
            serve_http(bench.context()) as handle,
        ):
            yield bench, Asker(handle.url)

    def test_nothing_was_evaluated_yet(self, evaluating: tuple[HttpBench, Asker]) -> None:
        _, asker = evaluating
        assert asker.ask("/status").json["evaluation"] is None
        assert asker.ask("/evaluations").json == {"evaluations": []}
        assert "fedproof_evaluation_round" not in samples(asker.ask("/metrics").data.decode())

    def test_the_summary_is_shown_and_who_said_what_is_not(
        self, evaluating: tuple[HttpBench, Asker]
    ) -> None:
        bench, asker = evaluating
        for _ in range(3):
            bench.play()
        made = [bench.evaluate(number, 0.5, 0.75) for number in (1, 2, 3)]
        assert asker.ask("/status").json["evaluation"] == made[2].as_json()
        shown = asker.ask("/evaluations?last=2")
        assert shown.json == {"evaluations": [one.as_json() for one in made[1:]]}
        assert len(asker.ask("/evaluations").json["evaluations"]) == 3
        assert CONTRIBUTORS[0].address.encode() not in shown.data
        page = samples(asker.ask("/metrics").data.decode())
        assert page["fedproof_evaluation_round"] == 3
        assert page["fedproof_evaluation_participants"] == 2
        assert page['fedproof_evaluation{metric="accuracy"}'] == 0.625
        assert page['fedproof_evaluation{metric="loss"}'] == 1.25
        assert page['fedproof_http_requests_total{route="evaluations",status="200"}'] == 2

    def test_what_the_coordinator_found_is_a_metric_of_its_own(
        self, evaluating: tuple[HttpBench, Asker]
    ) -> None:
        bench, asker = evaluating
        bench.play()
        bench.evaluate(1, 0.5)
        page = samples(asker.ask("/metrics").data.decode())
        assert page["fedproof_evaluation_public_accuracy"] == 0.75
        assert page["fedproof_evaluation_public_loss"] == 0.5

    @pytest.mark.parametrize("last", ["0", "-1", "x", "1001", "9" * 400, "²"])
    def test_how_many_is_a_number(self, evaluating: tuple[HttpBench, Asker], last: str) -> None:
        answer = evaluating[1].ask(f"/evaluations?last={quote(last)}")
        assert (answer.status, answer.data) == (400, b"last: expected a number from 1 to 1000")

    def test_a_file_that_is_none_is_left_out(self, evaluating: tuple[HttpBench, Asker]) -> None:
        bench, asker = evaluating
        bench.play()
        made = bench.evaluate(1, 0.5)
        assert bench.evaluations is not None
        for number, text in enumerate(("", "[]", '{"round": 1}'), 2):
            (bench.evaluations.root / f"{number:06d}.json").write_text(text)
        assert asker.ask("/evaluations").json == {"evaluations": [made.as_json()]}

    def test_a_folder_that_cannot_be_read_is_said_to_be_so(
        self, evaluating: tuple[HttpBench, Asker]
    ) -> None:
        bench, asker = evaluating
        assert bench.evaluations is not None
        bench.evaluations.root.write_text("no folder")
        answer = asker.ask("/evaluations")
        assert (answer.status, answer.data) == (503, b"the evaluations cannot be read")
        assert asker.ask("/status").status == 200


def test_a_federation_without_evaluation_has_nothing_of_it(quiet: Asker) -> None:
    assert "evaluation" not in quiet.ask("/status").json
    assert quiet.ask("/evaluations").status == 404
    assert "fedproof_evaluation_round" not in samples(quiet.ask("/metrics").data.decode())


class TestDoor:
    @pytest.mark.parametrize("path", ["/federation", "/status", "/healthz", "/readyz", "/metrics"])
    def test_other_hosts_and_methods(self, quiet: Asker, path: str) -> None:
        other = quiet.ask(path, headers={"Host": "evil.example"})
        assert (other.status, other.json["error"]) == (403, "Host 'evil.example' is not allowed")
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert quiet.ask(path, method, b"{}").status == 405
        assert quiet.ask(path, "HEAD").status == 200

    def test_hosts_of_ones_own(self, quiet_bench: HttpBench) -> None:
        with serve_http(quiet_bench.context(allowed_hosts=["fed.example"])) as handle:
            asker = Asker(handle.url)
            for host in ("fed.example", "FED.example:8700", "localhost", "127.0.0.1:1"):
                assert asker.ask("/healthz", headers={"Host": host}).status == 200
            for host in ("fed.example.evil", "example", "0.0.0.0", ""):
                assert asker.ask("/healthz", headers={"Host": host}).status == 403

    def test_paths_that_do_not_exist(self, quiet: Asker) -> None:
        for path in ("/", "/admin", "/blobs", "/blobs/", "/metrics/x", "/rpc/x", "//status"):
            assert quiet.ask(path).status == 404
        assert quiet.ask("/rpc").status == 405  # only POST

    def test_no_page_may_read_from_another_origin(self, quiet: Asker) -> None:
        answer = quiet.ask("/status", headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers


class TestListening:
    def test_only_loopback_without_a_certificate(
        self, quiet_bench: HttpBench, tls: TlsFiles
    ) -> None:
        for host in ("0.0.0.0", "::", "192.0.2.1"):
            with pytest.raises(ConfigError, match=r"http.host = .* needs http.certificate"):
                serve_http(quiet_bench.context(), host)
        with serve_http(
            quiet_bench.context(), "0.0.0.0", certfile=tls.certificate, keyfile=tls.key
        ) as handle:
            assert handle.url.startswith("https://0.0.0.0:")
            assert Asker(handle.url, tls.ca).ask("/healthz").status == 200

    def test_certificate_and_key_belong_together(
        self, quiet_bench: HttpBench, tls: TlsFiles
    ) -> None:
        for files in ({"certfile": tls.certificate}, {"keyfile": tls.key}):
            with pytest.raises(ConfigError, match="one of them is missing"):
                serve_http(quiet_bench.context(), **files)

    def test_a_chain_opened_for_development_is_not_served(self, quiet_bench: HttpBench) -> None:
        assert quiet_bench.node is not None
        with pytest.raises(ConfigError, match="opened for development"):
            serve_http(quiet_bench.context(dispatcher=Dispatcher(quiet_bench.node, dev=True)))

    def test_without_an_embedded_chain_there_is_no_rpc(self, quiet_bench: HttpBench) -> None:
        with serve_http(quiet_bench.context(dispatcher=None)) as handle:
            assert Asker(handle.url).rpc("eth_blockNumber").status == 404
            assert Asker(handle.url).ask("/status").json["chain"]["block"] > 0

    def test_a_taken_port_is_named(self, quiet_bench: HttpBench) -> None:
        with serve_http(quiet_bench.context()) as handle:
            port = Asker(handle.url).port
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot listen there"):
                serve_http(quiet_bench.context(), port=port)


def test_members_terms_are_told(tmp_path: Path) -> None:
    with (
        embedded_bench(tmp_path, "members") as bench,
        serve_http(bench.context()) as handle,
    ):
        asker = Asker(handle.url)
        assert asker.ask("/status").json["access"] == "members"
        assert asker.ask("/federation").json["access"] == "members"
        digest = hashlib.sha256(asker.ask("/federation").data).hexdigest()
        assert digest == hashlib.sha256(bench.agreement.canonical_json()).hexdigest()
