"""web3 over our own HTTP: a node is bounded, and every failure is one line."""

import json
import socket

import pytest
from http_asking import Asker
from misbehaving_server import answer, misbehaving

from contracts.binding.http_provider import HttpProvider, web3_at
from contracts.binding.reader import FederationReader
from contracts.binding.rpc import Rpc
from coordinator.protocol.errors import ChainUnavailableError, ConfigError, LedgerError
from coordinator.protocol.types import Address


def rpc(url: str) -> Rpc:
    return Rpc(HttpProvider(url, timeout_s=2.0))


def result(value: object) -> bytes:
    return answer(json.dumps({"jsonrpc": "2.0", "id": 0, "result": value}).encode())


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (answer(b"<html>"), "status 200, and no JSON: b'<html>'"),
        (answer(b"[]"), "answered no JSON-RPC object but list"),
        (answer(b'{"error": "Host is not allowed"}', 403), "status 403: Host is not allowed"),
        (answer(b"[" * 100_000), "nested deeper than 32"),
        (answer(b"", 500), "status 500"),
        (answer(b"{}", 503), "status 503: None"),
    ],
)
def test_what_is_no_answer(said: bytes, message: str) -> None:
    with misbehaving([said]) as server:
        with pytest.raises(ChainUnavailableError) as refused:
            rpc(server.url).request("eth_chainId")
        assert message in str(refused.value)
        assert str(refused.value).startswith(f"node {server.url}: eth_chainId: ")
        assert "\n" not in str(refused.value)


def test_reading_is_repeated_sending_is_not() -> None:
    with misbehaving([b"", result("0x539")]) as server:
        assert rpc(server.url).quantity("eth_chainId") == 1337
        assert len(server.asked) == 2
    with misbehaving([b"", result("0x00")]) as server:
        with pytest.raises(ChainUnavailableError, match="closed the connection"):
            rpc(server.url).request("eth_sendRawTransaction", "0x00")
        assert len(server.asked) == 1


def test_a_huge_answer_is_not_kept() -> None:
    huge = answer(b"x" * 1000, Content_Length=str(3 * 10**9))
    with (
        misbehaving([huge]) as server,
        pytest.raises(ChainUnavailableError, match="3000000000 bytes, expected at most"),
    ):
        rpc(server.url).request("eth_chainId")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ChainUnavailableError, match="connection refused; nothing listens there"):
        rpc(f"http://127.0.0.1:{port}").request("eth_chainId")
    with pytest.raises(ConfigError, match="expected http://HOST:PORT"):
        rpc("127.0.0.1:8545")


def test_tls_to_a_port_without_it_says_so() -> None:
    with misbehaving([answer(b"{}")]) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(ChainUnavailableError, match="the port does not speak TLS"):
            rpc(url).request("eth_chainId")
        assert len(server.asked) == 1  # asking again would not help


def test_another_contract_is_no_federation(quiet: Asker, quiet_bench) -> None:
    w3 = web3_at(f"{quiet.url}/rpc", ca_file=quiet.ca)
    provider = w3.provider
    assert isinstance(provider, HttpProvider)
    node = Rpc(provider)
    with pytest.raises(LedgerError, match="there is no contract at"):
        FederationReader(node, Address("0x" + "11" * 20))
    referee = quiet_bench.federation.head().referee
    with pytest.raises(LedgerError, match="is no federation: it has no terms"):
        _ = FederationReader(node, referee).terms
    with pytest.raises(LedgerError, match=r"is no federation|reverted"):
        FederationReader(node, referee).head()


def test_batches_keep_their_order(quiet: Asker) -> None:
    w3 = web3_at(f"{quiet.url}/rpc", ca_file=quiet.ca)
    with w3.batch_requests() as batch:
        batch.add(w3.eth.get_block(1))
        batch.add(w3.eth.get_block(0))
        one, zero = batch.execute()
    assert (one["number"], zero["number"]) == (1, 0)
