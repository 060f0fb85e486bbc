"""Artifacts over HTTP: what the chain has committed to, to whom it is public, nothing else."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from http_asking import Asker
from http_bench import CONTRIBUTORS, NEWCOMER, HttpBench, embedded_bench
from service_bench import INITIAL, MANIFEST, vector
from tls_files import TlsFiles

from coordinator.http.server import serve_http
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ContributorError
from coordinator.protocol.signatures.authorization import sign_read
from coordinator.protocol.types import RoundId
from coordinator.stores import vector_file


def file_of(values: np.ndarray) -> bytes:
    return b"".join(bytes(part) for part in vector_file.encode(values, MANIFEST.digest()))


def blob(name: bytes, suffix: str = "safetensors") -> str:
    return f"/blobs/{name.hex()}.{suffix}"


class TestWhatIsPublic:
    def test_what_was_agreed_on_is_there_before_the_first_round(
        self, asker: Asker, bench: HttpBench
    ) -> None:
        rule = bench.agreement.core_rule
        model = asker.ask(blob(parameter_root(INITIAL, MANIFEST)))
        assert model.data == file_of(INITIAL)
        manifest = asker.ask(blob(rule.manifest_hash, "bin"))
        assert hashlib.sha256(manifest.data).digest() == rule.manifest_hash
        assert asker.ask(blob(rule.scoring_hash, "bin")).json == {"kind": "examples"}
        assert asker.ask(blob(bench.agreement.rule_hash, "rule.json")).json["kind"] == 1

    def test_an_update_is_not_there_until_its_round_is_sealed(
        self, asker: Asker, bench: HttpBench
    ) -> None:
        bench.begin()
        path = bench.store.path(bench.update_root(1), "safetensors")
        assert path.is_file()  # in the store, but nobody's business yet
        early = asker.ask(blob(bench.update_root(1)))
        unknown = asker.ask(blob(b"\x11" * 32))
        assert (early.status, unknown.status) == (404, 404)
        assert (
            early.json["error"].split(".safetensors")[1]
            == (unknown.json["error"].split(".safetensors")[1])
        )
        bench.service.close_round()
        late = asker.ask(blob(bench.update_root(1)))
        assert (late.status, late.data) == (200, file_of(vector(bench.value(1))))

    def test_a_sealed_round_is_all_there(self, asker: Asker, bench: HttpBench) -> None:
        bench.play()
        found = bench.round(1)
        assert asker.ask(blob(found.contributors_root, "contributors.json")).json["round"] == 1
        assert len(asker.ask(blob(found.scores_root, "scores.json")).json["scores"]) == 3
        assert len(asker.ask(blob(found.rewards_root, "rewards.json")).json["rewards"]) == 3
        assert asker.ask(blob(found.new_model_root)).status == 200

    def test_a_refused_update_and_a_stray_file_never_are(
        self, asker: Asker, bench: HttpBench
    ) -> None:
        bench.begin()
        with pytest.raises(ContributorError):
            bench.submit(NEWCOMER, value=9, examples=5)
        drafts = {"a draft": vector(31), "evidence": vector(32)}
        for values in drafts.values():
            bench.store.put_vector(values, MANIFEST, parameter_root(values, MANIFEST))
        secret = bench.store.put_bytes(b"a key, put here by mistake")
        bench.store.sync()
        bench.service.close_round()
        for values in (*drafts.values(), vector(9)):
            assert asker.ask(blob(parameter_root(values, MANIFEST))).status == 404
        assert asker.ask(blob(secret, "bin")).status == 404

    def test_updates_of_a_round_given_up_never_are(self, asker: Asker, bench: HttpBench) -> None:
        bench.begin()
        bench.pass_time(3600)
        assert bench.service.close_round().status == "void"
        assert asker.ask(blob(bench.update_root(0))).status == 404

    def test_it_follows_the_chain_for_many_rounds(self, asker: Asker, bench: HttpBench) -> None:
        for number in (1, 2, 3):
            bench.play()
            assert bench.federation.head().final_round == number
            for client in range(len(CONTRIBUTORS)):
                assert asker.ask(blob(bench.update_root(client))).status == 200
        assert asker.ask(blob(bench.round(2).contributors_root, "contributors.json")).status == 200

    def test_a_new_server_finds_it_all_again(self, bench: HttpBench) -> None:
        bench.play()
        bench.play()
        with serve_http(bench.context()) as handle:
            assert Asker(handle.url).ask(blob(bench.update_root(2))).status == 200


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "..%2f..%2frounds%2f1.json",
            "%2e%2e/rounds/1.json",
            f"{'AB' * 32}.safetensors",
            f"{'ab' * 31}.safetensors",
            f"{'ab' * 33}.safetensors",
            f"{'ab' * 32}",
            f"{'ab' * 32}.json",
            f"{'ab' * 32}.safetensors.tmp",
            f".tmp-{'ab' * 32}.safetensors",
            f"{'ab' * 32}.bin/x",
            f"{'ab' * 32}.bin%00",
            f"{'ab' * 32}.bin%0a",
            f"{'٣' * 64}.bin",
        ],
    )
    def test_nothing_but_a_digest_and_a_suffix(self, quiet: Asker, name: str) -> None:
        quoted = name.encode("ascii", "ignore").decode() if not name.isascii() else name
        assert quiet.ask(f"/blobs/{quoted}").status == 404

    def test_a_vector_is_no_document(self, quiet: Asker, quiet_bench: HttpBench) -> None:
        assert quiet.ask(blob(quiet_bench.update_root(0), "bin")).status == 404
        assert quiet.ask(blob(quiet_bench.round(1).rewards_root, "scores.json")).status == 404


class TestTransfer:
    @pytest.fixture
    def path(self, quiet_bench: HttpBench) -> str:
        return blob(parameter_root(INITIAL, MANIFEST))

    def test_a_blob_is_cached_for_ever_under_its_name(self, quiet: Asker, path: str) -> None:
        answer = quiet.ask(path)
        assert answer.headers["etag"] == f'"{path.removeprefix("/blobs/")}"'
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-length"] == str(len(answer.data))
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = quiet.ask(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.data) == (304, b"")
        other = quiet.ask(path, headers={"If-None-Match": '"something else"'})
        assert other.status == 200

    def test_head_says_how_long_it_is(self, quiet: Asker, path: str) -> None:
        answer = quiet.ask(path, "HEAD")
        assert (answer.status, answer.data) == (200, b"")
        assert int(answer.headers["content-length"]) == len(file_of(INITIAL))

    @pytest.mark.parametrize(
        ("asked", "span"),
        [("bytes=0-9", (0, 10)), ("bytes=100-", (100, None)), ("bytes=-7", (-7, None)),
         ("bytes=5-5", (5, 6)), ("bytes=3-99999", (3, None)), ("bytes=-99999", (0, None))],
    )  # fmt: skip
    def test_a_range(
        self, quiet: Asker, path: str, asked: str, span: tuple[int, int | None]
    ) -> None:
        answer = quiet.ask(path, headers={"Range": asked})
        whole = file_of(INITIAL)
        assert (answer.status, answer.data) == (206, whole[slice(*span)])
        first = span[0] % len(whole)
        last = first + len(answer.data) - 1
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"

    @pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=9-3"])
    def test_a_range_outside(self, quiet: Asker, path: str, asked: str) -> None:
        answer = quiet.ask(path, headers={"Range": asked})
        assert answer.status == 416
        assert answer.headers["content-range"] == f"bytes */{len(file_of(INITIAL))}"

    @pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=-", "lines=1-2", "bytes=a-b"])
    def test_other_ranges_are_ignored(self, quiet: Asker, path: str, asked: str) -> None:
        answer = quiet.ask(path, headers={"Range": asked})
        assert (answer.status, len(answer.data)) == (200, len(file_of(INITIAL)))

    def test_a_range_of_another_version_is_the_whole(self, quiet: Asker, path: str) -> None:
        answer = quiet.ask(path, headers={"Range": "bytes=0-1", "If-Range": '"old"'})
        assert answer.status == 200

    def test_nothing_can_be_written(self, quiet: Asker, path: str) -> None:
        for method in ("PUT", "POST", "DELETE", "PATCH"):
            assert quiet.ask(path, method, b"x").status == 405


class TestMembersOnly:
    NOW = 1_800_000_000

    @pytest.fixture
    def bench(self, tmp_path: Path):
        with embedded_bench(tmp_path, "members") as made:
            made.play()
            yield made

    @pytest.fixture
    def asker(self, bench: HttpBench, tls: TlsFiles):
        context = bench.context(clock=lambda: float(self.NOW))
        with serve_http(context, certfile=tls.certificate, keyfile=tls.key) as handle:
            yield Asker(handle.url, tls.ca)

    def ask(self, asker: Asker, bench: HttpBench, who=CONTRIBUTORS[0], *, in_s=60, **other):
        root = bench.update_root(0)
        fields = {"domain": bench.federation.domain, "blob": root, **other}
        header = sign_read(fields["domain"], bytes(who.key), fields["blob"], self.NOW + in_s)
        return asker.ask(blob(root), headers={"Authorization": header})

    def test_a_bonded_account_reads(self, asker: Asker, bench: HttpBench) -> None:
        answer = self.ask(asker, bench)
        assert (answer.status, answer.data) == (200, file_of(vector(bench.value(0))))
        assert answer.headers["cache-control"].startswith("private")

    def test_without_a_signature_nobody_does(self, asker: Asker, bench: HttpBench) -> None:
        answer = asker.ask(blob(bench.update_root(0)))
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Fedproof")
        assert answer.json["error"].startswith("no-authorization")

    def test_an_account_without_a_bond_does_not(self, asker: Asker, bench: HttpBench) -> None:
        answer = self.ask(asker, bench, NEWCOMER)
        assert (answer.status, answer.json["error"].split(":")[0]) == (403, "not-bonded")
        bench.federation.join(NEWCOMER, bench.federation.terms.min_stake_wei)
        assert self.ask(asker, bench, NEWCOMER).status == 200
        bench.federation.leave(NEWCOMER)
        assert self.ask(asker, bench, NEWCOMER).status == 403

    @pytest.mark.parametrize(
        ("in_s", "code"), [(0, "expired"), (-5000, "expired"), (901, "expires-too-late")]
    )
    def test_a_request_is_good_for_minutes(
        self, asker: Asker, bench: HttpBench, in_s: int, code: str
    ) -> None:
        answer = self.ask(asker, bench, in_s=in_s)
        assert (answer.status, answer.json["error"].split(":")[0]) == (401, code)

    def test_of_this_blob_in_this_federation(self, asker: Asker, bench: HttpBench) -> None:
        answer = self.ask(asker, bench, blob=bench.update_root(1))
        assert (answer.status, answer.json["error"].split(":")[0]) == (401, "wrong-signer")
        elsewhere = bench.federation.domain.__class__(1, bench.federation.address)
        answer = self.ask(asker, bench, domain=elsewhere)
        assert (answer.status, answer.json["error"].split(":")[0]) == (401, "wrong-signer")

    def test_models_and_documents_stay_public(self, asker: Asker, bench: HttpBench) -> None:
        found = bench.federation.round(RoundId(1))
        assert asker.ask(blob(found.new_model_root)).status == 200
        assert asker.ask(blob(found.contributors_root, "contributors.json")).status == 200

    def test_a_signature_does_not_open_an_open_round(self, asker: Asker, bench: HttpBench) -> None:
        bench.begin()
        assert self.ask(asker, bench).status == 404
