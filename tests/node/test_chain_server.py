"""The HTTP door: who may come in, and that web3 works through it as in process."""

import http.client
import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3RPCError

from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.protocol.errors import ConfigError

ASK = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}).encode()
JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture
def dispatcher(node):
    made = Dispatcher(node, dev=True)
    yield made
    made.close()


@pytest.fixture
def server(dispatcher):
    with serve_in_thread(
        dispatcher, allowed_hosts=["chain.example"], max_body_bytes=4096
    ) as handle:
        yield handle


def port_of(server) -> int:
    return int(server.url.rsplit(":", 1)[1])


def send(server, body: bytes = ASK, *, method="POST", path="/", headers=None, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
    sent = {**JSON_TYPE, **(headers or {})}
    if host is not None:
        sent["Host"] = host
    connection.request(method, path, body, sent)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, text


class TestDoor:
    def test_a_request_is_answered(self, server):
        status, text = send(server)
        assert (status, json.loads(text)["result"]) == (200, "0x539")

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1",
            "localhost",
            "LOCALHOST:8545",
            "[::1]",
            "[::1]:99",
            "chain.example",
            "chain.example:443",
        ],
    )
    def test_our_hosts(self, server, host):
        assert send(server, host=host)[0] == 200
        assert send(server, b"", method="GET", path="/healthz", host=host)[0] == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8545",
            "",
            "localhost:x",
            "0.0.0.0",
            "[::2]",
            "::1",
        ],
    )
    def test_other_hosts(self, server, host):
        status, text = send(server, host=host)
        assert status == 403
        assert repr(host) in json.loads(text)["error"]
        assert send(server, b"", method="GET", path="/healthz", host=host)[0] == 403

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    )
    def test_what_a_page_could_send_unasked(self, server, kind):
        status, text = send(server, headers={"Content-Type": kind})
        assert (status, "expected application/json" in text.decode()) == (415, True)

    def test_a_charset_is_fine(self, server):
        kind = {"Content-Type": "application/json; charset=utf-8"}
        assert send(server, headers=kind)[0] == 200

    def test_no_cross_origin_permission(self, server):
        origin = {"Origin": "http://evil.example"}
        assert send(server, method="OPTIONS", headers=origin)[0] == 405
        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
        connection.request("POST", "/", ASK, {**JSON_TYPE, **origin})
        names = {name.lower() for name, _ in connection.getresponse().getheaders()}
        connection.close()
        assert not any(name.startswith("access-control") for name in names)

    def test_body_limit(self, server):
        fits = ASK + b" " * (4096 - len(ASK))
        assert send(server, fits)[0] == 200
        status, text = send(server, fits + b" ")
        assert (status, json.loads(text)["error"]) == (413, "body is longer than 4096 bytes")

    def test_body_limit_without_a_length(self, server):
        def parts():
            for _ in range(100):
                yield b" " * 1000

        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
        connection.request("POST", "/", parts(), JSON_TYPE, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()

    def test_other_methods_and_paths(self, server):
        assert send(server, b"", method="GET")[0] == 405
        assert send(server, method="PUT")[0] == 405
        assert send(server, path="/admin")[0] == 404

    def test_a_notification(self, server):
        body = json.dumps({"jsonrpc": "2.0", "method": "eth_chainId"}).encode()
        assert send(server, body) == (204, b"")

    def test_nonsense(self, server):
        status, text = send(server, b"{")
        assert (status, json.loads(text)["error"]["code"]) == (200, -32700)

    def test_health(self, server, node):
        node.mine()
        status, text = send(server, b"", method="GET", path="/healthz")
        assert status == 200
        assert json.loads(text) == {"status": "ok", "chain_id": 1337, "block": 1}


class TestListening:
    def test_a_taken_port_is_named(self, dispatcher):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot listen there"):
                serve_in_thread(dispatcher, "127.0.0.1", port)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
    def test_only_loopback(self, dispatcher, host):
        with pytest.raises(ConfigError, match="not a loopback address"):
            serve_in_thread(dispatcher, host)

    @pytest.mark.parametrize("port", [-1, 65_536])
    def test_impossible_ports(self, dispatcher, port):
        with pytest.raises(ConfigError, match=f"port {port}: expected 0..65535"):
            serve_in_thread(dispatcher, port=port)

    def test_stopping_frees_the_port_and_the_thread(self, dispatcher):
        handle = serve_in_thread(dispatcher)
        port = port_of(handle)
        assert any(thread.name == "fedproof-rpc" for thread in threading.enumerate())
        handle.stop()
        handle.stop()
        assert not any(thread.name == "fedproof-rpc" for thread in threading.enumerate())
        with serve_in_thread(dispatcher, port=port) as again:
            assert send(again)[0] == 200

    def test_signals_stay_the_callers(self, dispatcher):
        seen = []
        before = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            with serve_in_thread(dispatcher) as handle:
                now = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
                assert now == handlers
                os.kill(os.getpid(), signal.SIGUSR1)
                assert send(handle)[0] == 200
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert seen == [signal.SIGUSR1]

    def test_ipv6(self, dispatcher):
        if not socket.has_ipv6:
            pytest.skip("this machine has no IPv6")
        try:
            handle = serve_in_thread(dispatcher, "::1")
        except ConfigError as failed:
            pytest.skip(f"this machine has no IPv6 loopback: {failed}")
        with handle:
            assert handle.url.startswith("http://[::1]:")
            assert Web3(Web3.HTTPProvider(handle.url)).eth.chain_id == 1337


@pytest.fixture(params=["in process", "over HTTP"])
def web3(request, dispatcher):
    if request.param == "in process":
        yield Web3(EmbeddedProvider(dispatcher))
        return
    with serve_in_thread(dispatcher) as handle:
        yield Web3(Web3.HTTPProvider(handle.url))


class TestWeb3:
    """One binding, two transports, no middleware."""

    def send(self, web3, wallet, transaction):
        signed = wallet.account.sign_transaction(transaction)
        sent = web3.eth.send_raw_transaction(signed.raw_transaction)
        return web3.eth.wait_for_transaction_receipt(sent)

    @pytest.fixture
    def contract(self, web3, alice, counter_code):
        factory = web3.eth.contract(abi=counter_code.abi, bytecode=counter_code.bytecode)
        built = factory.constructor().build_transaction(
            {"from": alice.address, "nonce": web3.eth.get_transaction_count(alice.address)}
        )
        receipt = self.send(web3, alice, built)
        assert receipt["status"] == 1
        return web3.eth.contract(receipt["contractAddress"], abi=counter_code.abi)

    def fields(self, web3, alice, **more):
        nonce = web3.eth.get_transaction_count(alice.address, "pending")
        return {"from": alice.address, "nonce": nonce, **more}

    def test_connection(self, web3):
        assert web3.is_connected()
        assert web3.client_version.startswith("fedproof/")
        assert web3.net.version == "1337"
        assert web3.eth.accounts == []

    def test_a_contracts_life(self, web3, alice, contract):
        built = contract.functions.bump(4).build_transaction(self.fields(web3, alice))
        receipt = self.send(web3, alice, built)
        (event,) = contract.events.Bumped().process_receipt(receipt)
        assert dict(event["args"]) == {"by": alice.address, "value": 4}
        assert contract.functions.count().call() == 4
        assert contract.functions.count().call(block_identifier=0x1) == 0
        (found,) = contract.events.Bumped().get_logs(
            from_block=0, argument_filters={"by": alice.address}
        )
        assert found["transactionHash"] == receipt["transactionHash"]
        block = web3.eth.get_block("latest", full_transactions=True)
        assert block["transactions"][0]["hash"] == receipt["transactionHash"]
        assert web3.eth.get_block_receipts(block["number"])[0] == receipt
        assert web3.eth.fee_history(1, "latest", [50.0])["reward"] == [[0]]

    def test_reverts_are_contract_errors(self, web3, alice, contract):
        with pytest.raises(ContractLogicError, match="too big") as caught:
            contract.functions.bump(10).call()
        assert caught.value.data.startswith("0x08c379a0")
        with pytest.raises(ContractLogicError, match="too big"):
            contract.functions.bump(10).build_transaction(self.fields(web3, alice))
        forced = contract.functions.bump(10).build_transaction(self.fields(web3, alice, gas=90_000))
        assert self.send(web3, alice, forced)["status"] == 0

    def test_refusals_are_rpc_errors(self, web3, stranger):
        with pytest.raises(Web3RPCError, match="insufficient funds"):
            web3.eth.send_raw_transaction(stranger.sign())
        with pytest.raises(Web3RPCError, match="does not exist or is not allowed"):
            web3.manager.request_blocking("admin_peers", [])

    def test_batches(self, web3, alice):
        with web3.batch_requests() as batch:
            batch.add(web3.eth.get_block(0))
            batch.add(web3.eth.get_balance(alice.address))
            block, balance = batch.execute()
        assert (block["number"], balance) == (0, 1000 * 10**18)

    def test_polling_for_events(self, web3, alice, contract):
        watch = contract.events.Bumped().create_filter(from_block="latest")
        built = contract.functions.bump(2).build_transaction(self.fields(web3, alice))
        self.send(web3, alice, built)
        assert [entry["args"]["value"] for entry in watch.get_new_entries()] == [2]
        assert watch.get_new_entries() == []


class TestConcurrency:
    def test_many_clients_lose_nothing(self, node, dispatcher, alice, bob):
        raws = {wallet.address: [wallet.sign() for _ in range(20)] for wallet in (alice, bob)}

        def write(sender: str) -> list[int]:
            web3 = Web3(Web3.HTTPProvider(handle.url))
            sent = [web3.eth.send_raw_transaction(raw) for raw in raws[sender]]
            return [web3.eth.get_transaction_receipt(item)["status"] for item in sent]

        def read(_: int) -> bool:
            web3 = Web3(Web3.HTTPProvider(handle.url))
            return all(
                web3.eth.get_block("latest")["number"] <= web3.eth.block_number for _ in range(20)
            )

        with serve_in_thread(dispatcher) as handle, ThreadPoolExecutor(6) as pool:
            writers = [pool.submit(write, sender) for sender in raws]
            readers = [pool.submit(read, number) for number in range(4)]
            assert [writer.result() for writer in writers] == [[1] * 20] * 2
            assert all(reader.result() for reader in readers)
        assert node.get_nonce(alice.address) == node.get_nonce(bob.address) == 20
        assert node.get_balance("0x" + "11" * 20) == 40
