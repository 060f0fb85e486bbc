"""JSON-RPC without a transport: the protocol, the closed list of methods, their parameters."""

import json

import pytest
from eth_utils import keccak

from contracts.node import rpc_methods
from contracts.node.rpc import MAX_BATCH, Dispatcher
from contracts.node.rpc_methods import DEV_METHODS, READ_METHODS

HASH = "0x" + "ab" * 32
REFUSED = [
    *(
        f"admin_{name}"
        for name in [
            "addPeer",
            "removePeer",
            "nodeInfo",
            "peers",
            "datadir",
            "startHTTP",
            "stopHTTP",
            "exportChain",
            "importChain",
        ]
    ),
    *(
        f"personal_{name}"
        for name in [
            "newAccount",
            "unlockAccount",
            "lockAccount",
            "sendTransaction",
            "sign",
            "ecRecover",
            "importRawKey",
            "listAccounts",
            "listWallets",
        ]
    ),
    *(
        f"debug_{name}"
        for name in [
            "traceTransaction",
            "traceCall",
            "traceBlockByNumber",
            "storageRangeAt",
            "setHead",
            "chaindbProperty",
            "dumpBlock",
            "getRawBlock",
            "gcStats",
        ]
    ),
    *(
        f"miner_{name}"
        for name in ["start", "stop", "setEtherbase", "setGasPrice", "setExtra", "setGasLimit"]
    ),
    *(
        f"eth_{name}"
        for name in [
            "sendTransaction",
            "sign",
            "signTransaction",
            "signTypedData",
            "signTypedData_v4",
            "submitWork",
            "getWork",
            "submitHashrate",
            "getCompilers",
            "compileSolidity",
            "simulateV1",
            "getProof",
            "createAccessList",
            "subscribe",
        ]
    ),
    *(f"txpool_{name}" for name in ["content", "inspect"]),
    *(f"clique_{name}" for name in ["propose"]),
    *(f"les_{name}" for name in ["addBalance"]),
    *(f"engine_{name}" for name in ["newPayloadV4", "forkchoiceUpdatedV3"]),
    *(f"trace_{name}" for name in ["block"]),
    *(f"parity_{name}" for name in ["setMode"]),
    *(
        f"hardhat_{name}"
        for name in ["setBalance", "setCode", "setStorageAt", "impersonateAccount"]
    ),
    *(
        f"anvil_{name}"
        for name in ["setBalance", "impersonateAccount", "setCode", "reset", "dumpState"]
    ),
    *(f"tenderly_{name}" for name in ["setBalance"]),
    *(f"rpc_{name}" for name in ["modules"]),
]


@pytest.fixture
def dispatcher(node):
    made = Dispatcher(node)
    yield made
    made.close()


@pytest.fixture
def developer(node):
    made = Dispatcher(node, dev=True)
    yield made
    made.close()


def ask(dispatcher: Dispatcher, method: str, *params):
    answer = dispatcher.dispatch(
        {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    )
    assert answer["id"] == 7
    return answer


def result(dispatcher: Dispatcher, method: str, *params):
    answer = ask(dispatcher, method, *params)
    assert "error" not in answer, answer
    return answer["result"]


def error(dispatcher: Dispatcher, method: str, *params) -> tuple[int, str]:
    answer = ask(dispatcher, method, *params)
    assert "result" not in answer
    return answer["error"]["code"], answer["error"]["message"]


class TestProtocol:
    def handle(self, dispatcher: Dispatcher, body) -> object:
        answer = dispatcher.handle(body if isinstance(body, bytes) else json.dumps(body).encode())
        return None if answer is None else json.loads(answer)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"\xff\xfe", b"[1,", b"[" * 100_000, b"[]" * 100_000]
    )
    def test_no_json(self, dispatcher, body):
        answer = self.handle(dispatcher, body)
        assert (answer["id"], answer["error"]["code"]) == (None, -32700)

    @pytest.mark.parametrize(
        "request_",
        [
            1,
            "x",
            None,
            {},
            {"jsonrpc": "1.0", "id": 1, "method": "eth_chainId"},
            {"id": 1, "method": "eth_chainId"},
            {"jsonrpc": "2.0", "id": 1},
            {"jsonrpc": "2.0", "id": 1, "method": 5},
            {"jsonrpc": "2.0", "id": {}, "method": "eth_chainId"},
        ],
    )
    def test_no_request(self, dispatcher, request_):
        assert self.handle(dispatcher, request_)["error"]["code"] == -32600

    def test_named_parameters(self, dispatcher):
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": {}}
        answer = self.handle(dispatcher, request)
        assert answer["error"] == {
            "code": -32602,
            "message": "invalid params: eth_chainId takes a list of parameters",
        }

    def test_parameters_may_be_left_out(self, dispatcher):
        answer = self.handle(dispatcher, {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"})
        assert answer == {"jsonrpc": "2.0", "id": "a", "result": "0x539"}

    def test_a_notification_is_not_answered(self, dispatcher):
        assert self.handle(dispatcher, {"jsonrpc": "2.0", "method": "eth_chainId"}) is None

    def test_a_batch_is_answered_in_order(self, dispatcher):
        batch = [
            {"jsonrpc": "2.0", "id": 2, "method": "eth_chainId"},
            {"jsonrpc": "2.0", "method": "eth_chainId"},
            {"jsonrpc": "2.0", "id": 1, "method": "none"},
            5,
        ]
        answers = self.handle(dispatcher, batch)
        assert [answer["id"] for answer in answers] == [2, 1, None]
        assert [answer.get("error", {}).get("code") for answer in answers] == [
            None,
            -32601,
            -32600,
        ]

    def test_a_batch_of_notifications(self, dispatcher):
        assert self.handle(dispatcher, [{"jsonrpc": "2.0", "method": "eth_chainId"}]) is None

    def test_batch_limits(self, dispatcher):
        assert self.handle(dispatcher, [])["error"]["code"] == -32600
        one = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
        assert len(self.handle(dispatcher, [one] * MAX_BATCH)) == MAX_BATCH
        over = self.handle(dispatcher, [one] * (MAX_BATCH + 1))
        assert over["error"]["message"] == "invalid request: a batch of 257, at most 256"

    def test_our_own_faults_are_internal_errors(self, dispatcher, node, monkeypatch, caplog):
        monkeypatch.setattr(node, "get_balance", lambda *_: 1 // 0)
        code, message = error(dispatcher, "eth_getBalance", "0x" + "11" * 20)
        assert (code, message) == (-32603, "internal error in eth_getBalance: ZeroDivisionError")
        assert "ZeroDivisionError" in caplog.text


class TestMethods:
    def test_about_forty_and_no_more(self, dispatcher):
        assert len(dispatcher.methods) == 38
        assert all(name.startswith(("eth_", "net_", "web3_")) for name in dispatcher.methods)

    def test_enough_are_refused(self):
        assert len(set(REFUSED)) >= 60

    @pytest.mark.parametrize("method", REFUSED)
    def test_refused(self, dispatcher, developer, method):
        for each in (dispatcher, developer):
            assert error(each, method, {}) == (
                -32601,
                f"the method {method} does not exist or is not allowed",
            )

    @pytest.mark.parametrize("method", sorted(DEV_METHODS.methods))
    def test_development_methods_only_when_asked_for(self, dispatcher, developer, method):
        code, message = error(dispatcher, method)
        assert (code, "development method" in message) == (-32601, True)
        assert method in developer.methods

    @pytest.mark.parametrize("method", sorted(READ_METHODS.methods))
    def test_too_many_parameters(self, dispatcher, method):
        code, message = error(dispatcher, method, *[HASH] * 9)
        assert code == -32602
        assert message.startswith(f"invalid params: {method} takes at most ")


class TestParameters:
    ACCOUNT = "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"

    def test_missing(self, dispatcher):
        assert error(dispatcher, "eth_getBalance") == (
            -32602,
            "invalid params: eth_getBalance: parameter 1 (address) is missing",
        )
        assert error(dispatcher, "eth_getStorageAt", self.ACCOUNT)[1].endswith(
            "2 (slot) is missing"
        )
        assert error(dispatcher, "eth_getBlockByNumber", None)[1].startswith(
            "invalid params: block: found None"
        )

    @pytest.mark.parametrize(
        "account",
        [
            5,
            None,
            "",
            "0x12",
            ACCOUNT[2:],
            ACCOUNT + "00",
            "0x" + "zz" * 20,
            ACCOUNT.replace("f", "F", 1),
        ],
    )
    def test_addresses(self, dispatcher, account):
        code, message = error(dispatcher, "eth_getBalance", account)
        assert code == -32602
        assert message.startswith(("invalid params: address: found", "invalid params: eth_getBal"))

    @pytest.mark.parametrize("account", [ACCOUNT, ACCOUNT.upper().replace("X", "x")])
    def test_any_single_case_is_an_address(self, dispatcher, account):
        assert result(dispatcher, "eth_getBalance", account) == hex(1000 * 10**18)

    @pytest.mark.parametrize(
        "block", [1, "1", "0x", "newest", "0xzz", {}, {"blockHash": "0x1"}, []]
    )
    def test_blocks(self, dispatcher, block):
        code, message = error(dispatcher, "eth_getBalance", self.ACCOUNT, block)
        assert (code, message.startswith("invalid params: block")) == (-32602, True)

    def test_every_way_to_name_a_block(self, dispatcher, node):
        node.mine()
        expected = result(dispatcher, "eth_getBalance", self.ACCOUNT)
        for block in (
            "latest",
            "safe",
            "finalized",
            "pending",
            "earliest",
            "0x0",
            "0x01",
            {"blockNumber": "0x1"},
            {"blockHash": "0x" + node.head.hash.hex()},
            {"blockHash": "0x" + node.head.hash.hex(), "requireCanonical": True},
            None,
        ):
            assert result(dispatcher, "eth_getBalance", self.ACCOUNT, block) == expected

    def test_a_block_that_is_not_there(self, dispatcher):
        assert error(dispatcher, "eth_getBalance", self.ACCOUNT, "0x5") == (
            -32000,
            "block not found: 5",
        )
        code, message = error(dispatcher, "eth_getBalance", self.ACCOUNT, {"blockHash": HASH})
        assert (code, message) == (-32000, f"block not found: {HASH}")

    @pytest.mark.parametrize(
        ("transaction", "named"),
        [
            (5, "transaction: found 5"),
            ({"to": "0x1"}, "transaction.to: found '0x1'"),
            ({"from": 1}, "transaction.from: found 1"),
            ({"value": "5"}, "transaction.value: found '5'"),
            ({"gas": -1}, "transaction.gas: found -1"),
            (
                {"gas": "0x3938701"},
                "transaction.gas: found '0x3938701', expected at most 0x3938700",
            ),
            ({"data": "0x1"}, "transaction.data: found '0x1'"),
            ({"data": "0x11", "input": "0x22"}, "transaction.input: found '0x22'"),
            ({"code": "0x"}, "transaction.code: found '0x', expected no such field"),
        ],
    )
    @pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
    def test_transactions(self, dispatcher, method, transaction, named):
        code, message = error(dispatcher, method, transaction)
        assert (code, message.startswith(f"invalid params: {named}")) == (-32602, True), message

    def test_state_overrides(self, dispatcher):
        request = {"to": self.ACCOUNT}
        assert result(dispatcher, "eth_call", request, "latest", {}) == "0x"
        code, message = error(dispatcher, "eth_call", request, "latest", {self.ACCOUNT: {}})
        assert (code, "not supported" in message) == (-32602, True)

    def test_long_values_are_shortened(self, dispatcher):
        _, message = error(dispatcher, "eth_sendRawTransaction", "0x" + "z" * 10_000)
        assert len(message) < 200

    @pytest.mark.parametrize(
        ("wanted", "named"),
        [
            ([], "filter: found []"),
            ({"fromBlock": 5}, "filter.fromBlock: found 5"),
            ({"fromBlock": "0x5", "toBlock": "0x4"}, "filter.fromBlock: found '0x5'"),
            ({"address": "0x1"}, "filter.address: found '0x1'"),
            ({"address": [ACCOUNT, 1]}, "filter.address[1]: found 1"),
            ({"topics": HASH}, "filter.topics: found"),
            ({"topics": [None, [HASH, "0x"]]}, "filter.topics[1][1]: found '0x'"),
            ({"topics": [None] * 5}, "filter.topics: found"),
            ({"blockHash": HASH, "fromBlock": "0x0"}, "filter.blockHash: found"),
            ({"limit": 1}, "filter.limit: found 1, expected no such field"),
            ({"address": [ACCOUNT] * 1001}, "filter.address: found 1001"),
        ],
    )
    @pytest.mark.parametrize("method", ["eth_getLogs", "eth_newFilter"])
    def test_filters(self, dispatcher, method, wanted, named):
        code, message = error(dispatcher, method, wanted)
        assert (code, message.startswith(f"invalid params: {named}")) == (-32602, True), message

    @pytest.mark.parametrize("wanted", [5, [True], [101], [-1], [50, 40], ["5"], [0] * 101])
    def test_percentiles(self, dispatcher, wanted):
        code, message = error(dispatcher, "eth_feeHistory", "0x1", "latest", wanted)
        assert (code, message.startswith("invalid params: rewardPercentiles")) == (-32602, True)


class TestReading:
    def test_constants(self, dispatcher, node):
        assert result(dispatcher, "eth_chainId") == "0x539"
        assert result(dispatcher, "net_version") == "1337"
        assert result(dispatcher, "net_listening") is True
        assert result(dispatcher, "net_peerCount") == "0x0"
        assert result(dispatcher, "eth_syncing") is False
        assert result(dispatcher, "eth_accounts") == []
        assert result(dispatcher, "eth_coinbase") == node.genesis.coinbase
        assert result(dispatcher, "eth_maxPriorityFeePerGas") == "0x0"
        assert result(dispatcher, "eth_blobBaseFee") == "0x1"
        assert result(dispatcher, "eth_gasPrice") == hex(node.next_base_fee_wei)
        assert result(dispatcher, "web3_sha3", "0x") == "0x" + keccak(b"").hex()
        assert result(dispatcher, "web3_clientVersion").startswith("fedproof/chain-v1/py-evm-")

    def test_a_block_holds_all_that_its_hash_is_made_of(self, dispatcher, node, alice):
        """Somebody who trusts nothing can rebuild the header from the JSON alone."""
        import rlp

        node.mine([alice.sign()])
        block = result(dispatcher, "eth_getBlockByNumber", "latest")
        names = [
            "parentHash",
            "sha3Uncles",
            "miner",
            "stateRoot",
            "transactionsRoot",
            "receiptsRoot",
            "logsBloom",
            "difficulty",
            "number",
            "gasLimit",
            "gasUsed",
            "timestamp",
            "extraData",
            "mixHash",
            "nonce",
            "baseFeePerGas",
            "withdrawalsRoot",
            "blobGasUsed",
            "excessBlobGas",
            "parentBeaconBlockRoot",
            "requestsHash",
        ]
        numbers = {
            *("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"),
            *("blobGasUsed", "excessBlobGas"),
        }
        fields = [
            rlp.sedes.big_endian_int.serialize(int(block[name], 16))
            if name in numbers
            else bytes.fromhex(block[name][2:])
            for name in names
        ]
        assert "0x" + keccak(rlp.encode(fields)).hex() == block["hash"]

    def test_blocks(self, dispatcher, node, alice):
        made = node.mine([alice.sign(), alice.sign()])
        by_number = result(dispatcher, "eth_getBlockByNumber", "0x1", False)
        by_hash = result(dispatcher, "eth_getBlockByHash", "0x" + made.hash.hex(), True)
        assert by_number["transactions"] == [t["hash"] for t in by_hash["transactions"]]
        assert {**by_number, "transactions": 0} == {**by_hash, "transactions": 0}
        assert result(dispatcher, "eth_getBlockByNumber", "0x2") is None
        assert result(dispatcher, "eth_getBlockByHash", HASH) is None
        for method, block in (
            ("eth_getBlockTransactionCountByNumber", "0x1"),
            ("eth_getBlockTransactionCountByHash", "0x" + made.hash.hex()),
        ):
            assert result(dispatcher, method, block) == "0x2"
        assert result(dispatcher, "eth_getBlockTransactionCountByHash", HASH) is None

    def test_the_pending_block(self, node, alice):
        dispatcher = Dispatcher(node, mining="manual")
        sent = result(dispatcher, "eth_sendRawTransaction", "0x" + alice.sign().hex())
        pending = result(dispatcher, "eth_getBlockByNumber", "pending")
        assert (pending["number"], pending["hash"], pending["transactions"]) == (
            "0x1",
            None,
            [sent],
        )
        assert int(pending["timestamp"], 16) == node.head.timestamp + 1

    def test_transactions(self, dispatcher, node, alice):
        raws = [alice.sign(gasPrice=10**10), alice.sign(type=2)]
        made = node.mine(raws)
        for index, raw in enumerate(raws):
            number = hex(index)
            found = result(dispatcher, "eth_getTransactionByBlockNumberAndIndex", "0x1", number)
            by_hash = "0x" + made.hash.hex()
            assert found == result(
                dispatcher, "eth_getTransactionByBlockHashAndIndex", by_hash, number
            )
            assert found == result(dispatcher, "eth_getTransactionByHash", found["hash"])
            assert found["from"] == alice.address
            assert (found["nonce"], found["transactionIndex"]) == (number, number)
            raw_again = result(dispatcher, "eth_getRawTransactionByHash", found["hash"])
            assert raw_again == "0x" + raw.hex()
        assert result(dispatcher, "eth_getTransactionByBlockNumberAndIndex", "0x1", "0x2") is None
        for method in (
            "eth_getTransactionByHash",
            "eth_getTransactionReceipt",
            "eth_getRawTransactionByHash",
        ):
            assert result(dispatcher, method, HASH) is None

    def test_receipts(self, dispatcher, node, alice, counter, encode):
        raw = alice.sign(to=counter, gas=99_999, data=encode("bump", 3), value=0)
        made = node.mine([raw, alice.sign()])
        receipts = result(dispatcher, "eth_getBlockReceipts", "latest")
        (second, first) = receipts
        assert second == result(dispatcher, "eth_getTransactionReceipt", second["transactionHash"])
        assert first["logs"] == []
        assert (second["status"], second["to"]) == ("0x1", counter)
        (log,) = second["logs"]
        assert log["blockHash"] == "0x" + made.hash.hex()
        assert (log["logIndex"], log["transactionIndex"], log["removed"]) == ("0x0", "0x0", False)
        assert int(second["logsBloom"], 16) == node.head.bloom
        assert result(dispatcher, "eth_getBlockReceipts", HASH_BLOCK) is None

    def test_state(self, dispatcher, node, alice, counter, encode):
        node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", 3), value=0)])
        assert result(dispatcher, "eth_getStorageAt", counter, "0x0") == "0x" + "00" * 31 + "03"
        assert result(dispatcher, "eth_getStorageAt", counter, "0x0", "0x1") == "0x" + "00" * 32
        code = result(dispatcher, "eth_getCode", counter)
        assert len(code) > 200
        assert result(dispatcher, "eth_getCode", counter, "0x0") == "0x"
        assert result(dispatcher, "eth_getTransactionCount", alice.address) == "0x2"
        call = {"to": counter, "data": "0x" + encode("count").hex()}
        assert int(result(dispatcher, "eth_call", call), 16) == 3

    def test_a_revert_carries_its_data(self, dispatcher, counter, encode):
        call = {"to": counter, "input": "0x" + encode("bump", 10).hex()}
        for method in ("eth_call", "eth_estimateGas"):
            answer = ask(dispatcher, method, call)["error"]
            assert (answer["code"], answer["message"]) == (3, "execution reverted: too big")
            assert answer["data"].startswith("0x08c379a0")

    def test_other_failures(self, dispatcher, counter, encode, stranger):
        burn = {"to": counter, "data": "0x" + encode("burn").hex()}
        assert error(dispatcher, "eth_call", burn) == (-32000, "invalid opcode")
        little = {"to": counter, "data": "0x" + encode("bump", 1).hex(), "gas": hex(22_000)}
        assert error(dispatcher, "eth_call", little) == (-32000, "out of gas")
        rich = {"to": counter, "from": stranger.address, "value": "0x1"}
        assert error(dispatcher, "eth_call", rich)[0] == -32000

    def test_fee_history(self, dispatcher, node, alice):
        node.mine([alice.sign(maxPriorityFeePerGas=tip) for tip in (7, 3, 5)])
        node.mine()
        history = result(dispatcher, "eth_feeHistory", "0x2", "latest", [0, 50, 100])
        assert history["oldestBlock"] == "0x1"
        fees = [node.get_block(1).base_fee_wei, node.head.base_fee_wei, node.next_base_fee_wei]
        assert history["baseFeePerGas"] == [hex(fee) for fee in fees]
        assert history["gasUsedRatio"] == [63_000 / 60_000_000, 0.0]
        assert history["reward"] == [["0x3", "0x5", "0x7"], ["0x0", "0x0", "0x0"]]
        older = result(dispatcher, "eth_feeHistory", "0x10", "0x1")
        assert (older["oldestBlock"], len(older["baseFeePerGas"])) == ("0x0", 3)
        assert "reward" not in older
        assert error(dispatcher, "eth_feeHistory", "0x1", "0x9")[0] == -32000


HASH_BLOCK = {"blockHash": HASH}


class TestSending:
    def test_mined_before_the_answer(self, dispatcher, node, alice):
        sent = result(dispatcher, "eth_sendRawTransaction", "0x" + alice.sign().hex())
        receipt = result(dispatcher, "eth_getTransactionReceipt", sent)
        assert (receipt["status"], node.head_number) == ("0x1", 1)

    def test_refusals_say_why(self, dispatcher, alice, stranger):
        raw = "0x" + alice.sign().hex()
        result(dispatcher, "eth_sendRawTransaction", raw)
        code, message = error(dispatcher, "eth_sendRawTransaction", raw)
        assert (code, "nonce too low: found 0, next 1" in message) == (-32000, True)
        poor = error(dispatcher, "eth_sendRawTransaction", "0x" + stranger.sign().hex())
        assert "insufficient funds" in poor[1]
        assert error(dispatcher, "eth_sendRawTransaction", "0x02c0")[0] == -32000

    def test_pending_ones_count(self, node, alice):
        dispatcher = Dispatcher(node, mining="manual")
        sent = result(dispatcher, "eth_sendRawTransaction", "0x" + alice.sign().hex())
        count = "eth_getTransactionCount"
        assert result(dispatcher, count, alice.address, "latest") == "0x0"
        assert result(dispatcher, count, alice.address, "pending") == "0x1"
        found = result(dispatcher, "eth_getTransactionByHash", sent)
        assert (found["blockNumber"], found["blockHash"]) == (None, None)
        assert result(dispatcher, "eth_getTransactionReceipt", sent) is None


class TestLogs:
    @pytest.fixture
    def bumped(self, node, alice, counter, encode):
        for amount in (1, 2, 3):
            node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", amount), value=0)])
        return counter

    def values(self, found) -> list[int]:
        return [int(log["data"], 16) for log in found]

    def test_search(self, dispatcher, node, bumped):
        assert self.values(result(dispatcher, "eth_getLogs", {})) == [3]
        everything = {"fromBlock": "earliest"}
        assert self.values(result(dispatcher, "eth_getLogs", everything)) == [1, 2, 3]
        some = {"fromBlock": "0x2", "toBlock": "0x3", "address": bumped, "topics": [None]}
        assert self.values(result(dispatcher, "eth_getLogs", some)) == [1, 2]
        by_hash = {"blockHash": "0x" + node.block_hash(3).hex()}
        assert self.values(result(dispatcher, "eth_getLogs", by_hash)) == [2]
        assert error(dispatcher, "eth_getLogs", {"blockHash": HASH})[0] == -32000

    def test_too_many(self, dispatcher, bumped, monkeypatch):
        monkeypatch.setattr(rpc_methods, "MAX_LOGS", 2)
        code, message = error(dispatcher, "eth_getLogs", {"fromBlock": "0x0"})
        assert (code, message) == (
            -32005,
            "query returned more than 2 logs; ask for a smaller block range",
        )
        assert len(result(dispatcher, "eth_getLogs", {"fromBlock": "0x3"})) == 2

    def test_log_filters(self, dispatcher, node, alice, bumped, encode):
        number = result(dispatcher, "eth_newFilter", {"address": bumped, "fromBlock": "0x0"})
        assert result(dispatcher, "eth_getFilterChanges", number) == []
        node.mine([alice.sign(to=bumped, gas=99_999, data=encode("bump", 9), value=0)])
        assert self.values(result(dispatcher, "eth_getFilterChanges", number)) == [9]
        assert result(dispatcher, "eth_getFilterChanges", number) == []
        assert self.values(result(dispatcher, "eth_getFilterLogs", number)) == [1, 2, 3, 9]
        assert result(dispatcher, "eth_uninstallFilter", number) is True
        assert result(dispatcher, "eth_uninstallFilter", number) is False
        assert error(dispatcher, "eth_getFilterChanges", number) == (
            -32000,
            f"filter not found: {number}",
        )

    def test_block_filters(self, dispatcher, node):
        number = result(dispatcher, "eth_newBlockFilter")
        hashes = [node.mine().hash for _ in range(2)]
        assert result(dispatcher, "eth_getFilterChanges", number) == [
            "0x" + item.hex() for item in hashes
        ]
        assert error(dispatcher, "eth_getFilterLogs", number)[0] == -32000

    def test_pending_filters(self, node, alice):
        dispatcher = Dispatcher(node, mining="manual")
        number = result(dispatcher, "eth_newPendingTransactionFilter")
        sent = result(dispatcher, "eth_sendRawTransaction", "0x" + alice.sign().hex())
        assert result(dispatcher, "eth_getFilterChanges", number) == [sent]
        assert result(dispatcher, "eth_getFilterChanges", number) == []

    def test_the_oldest_filter_goes(self, dispatcher):
        first = result(dispatcher, "eth_newBlockFilter")
        for _ in range(1024):
            last = result(dispatcher, "eth_newBlockFilter")
        assert error(dispatcher, "eth_getFilterChanges", first)[0] == -32000
        assert result(dispatcher, "eth_getFilterChanges", last) == []


class TestDevelopment:
    def test_mining(self, developer, node):
        assert result(developer, "evm_mine") == "0x0"
        wanted = node.head.timestamp + 50
        result(developer, "evm_mine", wanted)
        assert (node.head_number, node.head.timestamp) == (2, wanted)
        assert error(developer, "evm_mine", wanted)[0] == -32000
        assert error(developer, "evm_mine", -5)[0] == -32602

    def test_time(self, developer, node):
        start = node.head.timestamp
        result(developer, "evm_increaseTime", 60)
        result(developer, "evm_mine")
        assert node.head.timestamp == start + 61
        result(developer, "evm_setNextBlockTimestamp", hex(start + 100))
        result(developer, "evm_mine")
        assert node.head.timestamp == start + 100
        assert error(developer, "evm_setNextBlockTimestamp", start)[0] == -32000

    def test_snapshots(self, developer, node, alice):
        number = result(developer, "evm_snapshot")
        result(developer, "eth_sendRawTransaction", "0x" + alice.sign().hex())
        result(developer, "eth_sendRawTransaction", "0x" + alice.sign(nonce=5).hex())
        assert result(developer, "evm_revert", number) is True
        assert node.head_number == 0
        alice.nonce = 0
        result(developer, "eth_sendRawTransaction", "0x" + alice.sign().hex())
        assert error(developer, "evm_revert", number)[0] == -32000

    def test_a_batch_in_one_block(self, developer, node, alice, counter, encode):
        raws = [
            alice.sign(),
            b"\x01",
            alice.sign(to=counter, gas=99_999, data=encode("bump", 10), value=0),
        ]
        hexes = ["0x" + raw.hex() for raw in raws]
        made = result(developer, "fedproof_mineBatch", hexes, node.head.timestamp + 30)
        assert made["number"] == hex(node.head_number) == "0x2"
        assert [receipt["status"] for receipt in made["receipts"]] == ["0x1", "0x0"]
        assert made["receipts"][1]["failure"] == "execution reverted: too big"
        assert [(bad["index"], bad["code"]) for bad in made["refused"]] == [(1, "malformed")]
        _, message = error(developer, "fedproof_mineBatch", ["0x", 5])
        assert message.startswith("invalid params: transactions[1]: found 5")


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_an_id_that_json_cannot_carry_is_refused(dispatcher, number):
    body = f'{{"jsonrpc": "2.0", "id": {number}, "method": "eth_chainId"}}'
    answer = dispatcher.handle(body.encode())
    assert b"Infinity" not in answer
    told = json.loads(answer)
    assert (told["id"], told["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize("number", ["Infinity", "NaN"])
def test_what_is_no_json_is_a_parse_error(dispatcher, number):
    body = f'{{"jsonrpc": "2.0", "id": {number}, "method": "eth_chainId"}}'
    told = json.loads(dispatcher.handle(body.encode()))
    assert (told["id"], told["error"]["code"]) == (None, -32700)
