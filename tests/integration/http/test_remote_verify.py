"""``fedproof verify --rpc --store``: the audit from a node and a store alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anvil import running_anvil
from http_asking import Asker
from http_bench import NEWCOMER, HttpBench, anvil_bench, embedded_bench, save_key
from misbehaving_server import answer, misbehaving
from tls_files import TlsFiles
from typer.testing import CliRunner

from coordinator.http.server import serve_http
from coordinator.protocol.commitments.documents import (
    contributor_entries,
    contributors_document,
    encode,
)
from coordinator.protocol.errors import ConfigError, LedgerError, StoreError
from simulations.cli import app


def verify(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments), "--json"])
    assert done.exit_code == status, (done.stdout, done.exception)
    return json.loads(done.stdout)


def refusal(*arguments: str | Path) -> BaseException:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    assert isinstance(done.exception, BaseException)
    return done.exception


def check_unread(*arguments: str | Path, says: list[str]) -> None:
    """Check that updates nobody may read are no fault, and not taken for verified either."""
    done = CliRunner().invoke(app, ["verify", *map(str, arguments), "--json"])
    assert isinstance(done.exception, StoreError)
    assert done.exception.exit_code == 6
    assert "3 artifacts could not be read" in str(done.exception)
    found = json.loads(done.stdout)
    assert (found["ok"], found["faults"], found["rounds"][0]["ok"]) == (False, [], False)
    assert [unread["round"] for unread in found["unread"]] == [1] * 3
    for text in says:
        assert text in str(done.exception)
        assert text in found["unread"][0]["detail"]
    text = CliRunner().invoke(app, ["verify", *map(str, arguments)]).stdout
    assert "UNREAD round 1: 3 artifacts" in text
    assert "BAD" not in text
    assert "OK" not in text


def at(asker: Asker) -> list[str]:
    return ["--rpc", f"{asker.url}/rpc", "--store", asker.url, "--ca", str(asker.ca)]


def check_all_holds(bench: HttpBench, found: dict[str, Any]) -> None:
    assert found["ok"]
    assert [line["status"] for line in found["rounds"]] == ["final", "final", "open"]
    assert found["rounds"][1]["model_root"] == bench.round(2).new_model_root.hex()
    assert found["rounds"][0]["paid_wei"] == 3 * 10**18
    assert found["contract"] == bench.federation.address
    assert (found["replayed"], found["agreement"]) == (False, True)
    assert found["balance_wei"] >= 24 * 10**18


def test_everything_holds_on_the_embedded_chain(asker: Asker, bench: HttpBench) -> None:
    bench.play()
    bench.play()
    bench.begin()
    found = verify(*at(asker))
    check_all_holds(bench, found)
    head = bench.federation.block()
    assert found["head_hash"] == "0x" + head.hash.hex()
    assert verify(*at(asker), "--contract", bench.federation.address)["ok"]
    assert verify(*at(asker), "--block", found["head_hash"])["ok"]
    text = CliRunner().invoke(app, ["verify", *at(asker)]).stdout
    assert "as the node reports them, the agreement's digest checked" in text
    assert "3 rounds hold, 6 ETH paid" in text


def test_everything_holds_on_anvil(tmp_path: Path, tls: TlsFiles) -> None:
    with running_anvil() as url, anvil_bench(url, tmp_path) as bench:
        bench.play()
        bench.play()
        bench.begin()
        context = bench.context()
        with serve_http(context, certfile=tls.certificate, keyfile=tls.key) as handle:
            places = ["--rpc", url, "--store", handle.url, "--ca", tls.ca]
            check_all_holds(bench, verify(*places))
            assert refused_kinds(verify(*places, "--block", "0x" + "12" * 32, status=1)) == [
                "a block that was seen must still be in the chain"
            ]
            assert Asker(handle.url, tls.ca).rpc("eth_chainId").status == 404


def refused_kinds(found: dict[str, Any]) -> list[str]:
    assert not found["ok"]
    return [fault["rule"] for fault in found["faults"]]


class TestFaults:
    def test_a_block_that_was_seen(self, quiet: Asker) -> None:
        for seen in ("0x" + "12" * 32, "nonsense", ""):
            if seen:
                found = verify(*at(quiet), "--block", seen, status=1)
                assert found["faults"][0]["detail"] == f"no block has the hash {seen}"

    def test_a_changed_byte_in_an_update(self, asker: Asker, bench: HttpBench) -> None:
        bench.play()
        bench.play()
        path = bench.store.path(bench.update_root(1), "safetensors")
        data = bytearray(path.read_bytes())
        data[-3] ^= 4
        path.write_bytes(data)
        found = verify(*at(asker), status=1)
        fault = found["faults"][0]
        assert fault["round"] == 2
        assert bench.update_root(1).hex() in fault["artifact"]
        assert asker.url in fault["detail"]
        assert [line["ok"] for line in found["rounds"]] == [True, False]

    def test_a_missing_update_and_changed_contributors(
        self, asker: Asker, bench: HttpBench
    ) -> None:
        bench.play()
        bench.store.path(bench.update_root(0), "safetensors").unlink()
        rules = refused_kinds(verify(*at(asker), status=1))
        assert "update must hash to its committed root" in rules
        root = bench.round(1).contributors_root
        entries = contributor_entries(bench.store.get_document("contributors", root))
        bench.store.path(root, "contributors.json").write_bytes(
            encode(contributors_document(bench.round(1).round_id, entries[:2]))
        )
        rules = refused_kinds(verify(*at(asker), status=1))
        assert "contributors must hash to the committed root" in rules

    def test_another_agreement(self, bench: HttpBench) -> None:
        bench.play()
        other = bench.agreement.model_copy(update={"round_duration_s": 60})
        with serve_http(bench.context(agreement=other)) as handle:
            where = ["--rpc", f"{handle.url}/rpc", "--store", handle.url]
            rules = refused_kinds(verify(*where, status=1))
        assert rules == ["its digest must be the config digest on chain"]

    def test_a_rule_that_was_not_agreed_on(self, bench: HttpBench) -> None:
        bench.play()
        rule = dict(bench.agreement.rule) | {"examples_cap": 7}
        other = bench.agreement.model_copy(update={"rule": rule})
        with serve_http(bench.context(agreement=other)) as handle:
            where = ["--rpc", f"{handle.url}/rpc", "--store", handle.url]
            found = verify(*where, status=1)
        assert "the rule must be the one agreed on before training" in refused_kinds(found)
        assert found["faults"][-1]["round"] == 1

    def test_a_contract_that_does_not_hold_what_it_owes(
        self, asker: Asker, bench: HttpBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert bench.node is not None
        bench.play()
        monkeypatch.setattr(type(bench.node), "get_balance", lambda *_: 5)
        rules = refused_kinds(verify(*at(asker), status=1))
        assert rules == [
            "the balance must cover bonds, unbonding funds, bounties, pool and rewards"
        ]


class TestWhereToLook:
    def test_folders_do_as_well(self, bench: HttpBench, asker: Asker, tmp_path: Path) -> None:
        bench.play()
        rpc = ["--rpc", f"{asker.url}/rpc", "--ca", str(asker.ca)]
        assert "give --contract" in str(refusal(*rpc, "--store", tmp_path))
        found = verify(*rpc, "--store", tmp_path, "--contract", bench.federation.address)
        assert (found["ok"], found["agreement"]) == (True, False)
        (tmp_path / "federation.json").write_bytes(bench.agreement.canonical_json())
        for folder in (tmp_path, tmp_path / "blobs"):
            found = verify(*rpc, "--store", folder)
            assert (found["ok"], found["agreement"]) == (True, True)

    def test_members_only(self, tmp_path: Path, tls: TlsFiles) -> None:
        password = tmp_path / "password"
        password.write_text("pw\n")
        password.chmod(0o600)
        with (
            embedded_bench(tmp_path, "members") as bench,
            serve_http(bench.context(), certfile=tls.certificate, keyfile=tls.key) as handle,
        ):
            bench.play()
            where = at(Asker(handle.url, tls.ca))
            check_unread(*where, says=["401: no-authorization", "give the key file of a bonded"])
            save_key(tmp_path / "key.json", NEWCOMER, "pw")
            key = ["--key", tmp_path / "key.json", "--password-file", password]
            check_unread(*where, *key, says=[f"{NEWCOMER.address} has no bond"])
            bench.federation.join(NEWCOMER, bench.federation.terms.min_stake_wei)
            assert verify(*where, *key)["ok"]

    @pytest.fixture
    def gone(self) -> Iterator[str]:
        with misbehaving([b""]) as server:
            yield server.url

    def test_nobody_answers(self, quiet: Asker, gone: str) -> None:
        error = refusal("--rpc", gone, "--store", quiet.url, "--ca", str(quiet.ca))
        assert isinstance(error, LedgerError)
        assert f"node {gone}" in str(error)
        error = refusal("--rpc", f"{quiet.url}/rpc", "--store", gone, "--ca", str(quiet.ca))
        assert isinstance(error, StoreError)
        assert error.exit_code == 6

    def test_a_server_without_an_agreement(self, quiet: Asker) -> None:
        with misbehaving([answer(b"{}", 404)]) as server:
            error = refusal(
                "--rpc", f"{quiet.url}/rpc", "--store", server.url, "--ca", str(quiet.ca)
            )
        assert isinstance(error, ConfigError)
        assert "give --contract ADDRESS" in str(error)

    def test_options_that_do_not_go_together(self, quiet: Asker, tmp_path: Path) -> None:
        for arguments, message in (
            ((), "either a run's folder, or --rpc"),
            ((tmp_path, "--rpc", "http://x"), "either a run's folder, or --rpc"),
            ((tmp_path, "--ca", tmp_path), "go with --rpc only"),
            (("--rpc", "http://127.0.0.1:1"), "--rpc needs --store"),
            ((*at(quiet), "--partial"), "no --partial"),
            ((*at(quiet), "--contract", "0x12"), "expected 0x and 40 hexadecimal digits"),
            ((*at(quiet), "--contract", "x" * 42), "not an address"),
        ):
            error = refusal(*arguments)
            assert isinstance(error, ConfigError), (arguments, error)
            assert message in str(error)

    def test_another_contract(self, quiet: Asker, quiet_bench: HttpBench) -> None:
        for address, message in (
            ("0x" + "11" * 20, "there is no contract at"),
            (quiet_bench.federation.head().referee, "is no federation"),
        ):
            error = refusal(*at(quiet), "--contract", address)
            assert isinstance(error, LedgerError)
            assert message in str(error)


def test_a_watcher_reads_over_https(tmp_path: Path, tls: TlsFiles) -> None:
    with (
        embedded_bench(tmp_path, challenge_window_s=600) as bench,
        serve_http(bench.context(), certfile=tls.certificate, keyfile=tls.key) as handle,
    ):
        bench.play()
        where = at(Asker(handle.url, tls.ca))
        done = CliRunner().invoke(app, ["watch", *where, "--once", "--dry-run", "--json"])
        assert done.exit_code == 0, (done.stdout, done.exception)
        (told,) = [json.loads(line) for line in done.stdout.splitlines()]
        assert (told["what"], told["round"]) == ("examined", 1)
        refused = CliRunner().invoke(app, ["watch", *where[:-2], "--once", "--dry-run"])
        assert "its certificate is not trusted" in str(refused.exception)
