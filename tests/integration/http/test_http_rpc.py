"""JSON-RPC behind TLS: only what a chain's users need, from our own hosts, within bounds."""

import json

import pytest
from http_asking import ADMINISTRATIVE, Asker
from http_bench import NEWCOMER, HttpBench
from tls_files import TlsFiles

from contracts.binding.http_provider import web3_at
from coordinator.http.limits import HttpLimits
from coordinator.http.server import serve_http


def test_there_are_forty_of_them() -> None:
    assert len(set(ADMINISTRATIVE)) >= 40


def test_administrative_and_development_methods_are_refused(
    quiet: Asker, quiet_bench: HttpBench
) -> None:
    head = quiet_bench.federation.block()
    for method in ADMINISTRATIVE:
        answer = quiet.rpc(method)
        assert answer.status == 200, method
        assert answer.json["error"]["code"] == -32601, method
        assert method in answer.json["error"]["message"]
        assert "result" not in answer.json
    assert quiet_bench.federation.block() == head


def test_all_of_them_in_one_batch(quiet: Asker) -> None:
    batch = [{"jsonrpc": "2.0", "id": n, "method": m} for n, m in enumerate(ADMINISTRATIVE)]
    sent = {"Content-Type": "application/json"}
    answers = quiet.ask("/rpc", "POST", json.dumps(batch).encode(), sent).json
    assert [answer["error"]["code"] for answer in answers] == [-32601] * len(ADMINISTRATIVE)


def test_web3_reads_and_sends_through_it(asker: Asker, bench: HttpBench, tls: TlsFiles) -> None:
    w3 = web3_at(f"{asker.url}/rpc", ca_file=tls.ca)
    assert w3.is_connected()
    assert w3.eth.chain_id == 1337
    before = w3.eth.get_balance(bench.agreement.contract)
    fields = {
        "to": NEWCOMER.address, "value": 1, "gas": 21_000, "nonce": 0, "chainId": 1337,
        "maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9, "type": 2,
    }  # fmt: skip
    sent = w3.eth.send_raw_transaction(NEWCOMER.sign_transaction(fields).raw_transaction)
    assert w3.eth.wait_for_transaction_receipt(sent)["status"] == 1
    assert w3.eth.get_balance(bench.agreement.contract) == before


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "0.0.0.0", "", "[::2]"])
def test_wrong_hosts(quiet: Asker, host: str) -> None:
    answer = quiet.rpc("eth_chainId", Host=host)
    assert (answer.status, "result" in answer.json) == (403, False)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_page_could_send_unasked(quiet: Asker, kind: str) -> None:
    answer = quiet.rpc("eth_chainId", **{"Content-Type": kind})
    assert answer.status == 415


def test_bodies_are_bounded_whether_announced_or_not(quiet_bench: HttpBench) -> None:
    with serve_http(quiet_bench.context(limits=HttpLimits(body_bytes=2_000))) as handle:
        asker, sent = Asker(handle.url), {"Content-Type": "application/json"}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}).encode()
        fits = body + b" " * (2_000 - len(body))
        assert asker.ask("/rpc", "POST", fits, sent).json["result"] == "0x539"
        assert asker.ask("/rpc", "POST", fits + b" ", sent).status == 413
        pieces = (b" " * 500 for _ in range(10))
        assert asker.ask("/rpc", "POST", pieces, sent).status == 413
        huge = {**sent, "Content-Length": "99999999999"}
        assert asker.ask("/rpc", "POST", b"{}", huge).status == 413


def test_nested_json_is_refused_before_it_is_parsed(quiet: Asker) -> None:
    sent = {"Content-Type": "application/json"}
    answer = quiet.ask("/rpc", "POST", b"[" * 100_000, sent)
    assert answer.json["error"]["code"] == -32700
    assert quiet.rpc("eth_chainId").json["result"] == "0x539"


def test_whoever_uses_up_the_processor_waits(
    bench: HttpBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.http import limits as budget

    monkeypatch.setattr(budget, "is_loopback", lambda _: False)
    endless = {"data": "0x5b600056", "gas": hex(2_000_000)}  # a jump to itself, without end
    limits = HttpLimits(cpu_burst_s=0.05, cpu_share=0.001)
    with serve_http(bench.context(limits=limits)) as handle:
        asker = Asker(handle.url)
        assert "out of gas" in asker.rpc("eth_call", endless, "latest").json["error"]["message"]
        refused = asker.rpc("eth_chainId")
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 10
        assert asker.ask("/readyz").status == 200  # only JSON-RPC is counted


def test_a_batch_ends_when_it_has_used_its_time(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contracts.node import rpc as module

    monkeypatch.setattr(module, "MAX_BATCH_CPU_S", 0.05)
    call = {"data": "0x5b600056", "gas": hex(1_000_000)}
    batch = [
        {"jsonrpc": "2.0", "id": number, "method": "eth_call", "params": [call, "latest"]}
        for number in range(20)
    ]
    answers = asker.ask(
        "/rpc", "POST", json.dumps(batch).encode(), {"Content-Type": "application/json"}
    ).json
    assert [answer["id"] for answer in answers] == list(range(20))
    reasons = [answer["error"]["message"] for answer in answers]
    assert "out of gas" in reasons[0]
    assert "the batch has used 0.05 s" in reasons[-1]
