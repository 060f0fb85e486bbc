"""A chain without blocks, signatures and fees: contract calls on a second EVM, revm.

Replaces the embedded node and its transactor where a test sends hundreds of thousands of calls to
the deployed bytecode; about a hundred times as fast. Since it shares no code with py-evm, it
checks py-evm too. Not supported: mining, nonces, gas prices, past blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from pyrevm import EVM, BlockEnv, CfgEnv, Env

from contracts.binding.calls import Call
from contracts.binding.logs import EVENT_SETS
from contracts.binding.records import BlockInfo, LogPlace
from contracts.binding.rpc import Rpc, reason_text
from contracts.binding.transactions import Receipt, SignedCall, Transactor
from coordinator.protocol.errors import LedgerError, TransactionRevertedError
from coordinator.protocol.types import Address, Wei

CHAIN_ID = 1337
START = 1_700_000_000
GAS = 16_777_216
NOBODY = "0x" + "00" * 19 + "01"


@dataclass(frozen=True)
class Head:
    """The number and time of the newest block."""

    number: int
    timestamp: int


@dataclass(frozen=True)
class KeptLog:
    """An event, with its block and index."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int

    @property
    def place(self) -> LogPlace:
        return LogPlace(block_number=self.block, transaction_hash=bytes(32), log_index=self.index)


def _failure(failed: RuntimeError) -> tuple[str, bytes]:
    """Return revm's name for a failure, and the data of a revert."""
    text = str(failed)
    if text.startswith("Revert {"):
        return "", bytes.fromhex(text.split("output: 0x")[1].split(" ")[0])
    return text.split(" {")[0], b""


class RevmNode:
    """State, time and events; what tests use of an embedded node."""

    def __init__(self, alloc: dict[Address, Wei]) -> None:
        self.head = Head(0, START)
        self.logs: list[KeptLog] = []
        env = Env(cfg=CfgEnv(chain_id=CHAIN_ID), block=BlockEnv(number=0, timestamp=START))
        self.evm = EVM(env=env, spec_id="PRAGUE")
        for address, balance in alloc.items():
            self.evm.set_balance(address, balance)
        self._saved: list[tuple[Any, Head, int]] = []

    # Time --------------------------------------------------------------------------------

    def _at(self, head: Head) -> None:
        self.head = head
        self.evm.set_block_env(
            BlockEnv(number=head.number, timestamp=head.timestamp, gas_limit=2 * GAS)
        )

    def mine(self, timestamp: int | None = None) -> None:
        """Start the next block."""
        at = self.head.timestamp + 1 if timestamp is None else timestamp
        if at <= self.head.timestamp:
            raise LedgerError(f"block time {at} is not after {self.head.timestamp}")
        self._at(Head(self.head.number + 1, at))

    # State -------------------------------------------------------------------------------

    def get_balance(self, who: str) -> int:
        return self.evm.get_balance(who)

    def snapshot(self) -> int:
        self._saved.append((self.evm.snapshot(), self.head, len(self.logs)))
        return len(self._saved)

    def revert(self, snapshot: int) -> None:
        checkpoint, head, logs = self._saved[snapshot - 1]
        del self._saved[snapshot - 1 :]
        self.evm.revert(checkpoint)
        self._at(head)
        del self.logs[logs:]

    def close(self) -> None:
        """Nothing is on disk."""

    # Calls -------------------------------------------------------------------------------

    def call(self, to: str, data: bytes, sender: str = NOBODY, value: int = 0) -> bytes:
        """Execute a call and revert its changes; raises ``TransactionRevertedError``."""
        # Every checkpoint is a level of revm's call stack, until it is reverted.
        checkpoint = self.evm.snapshot()
        try:
            return self._run(sender, to, data, value)
        finally:
            self.evm.revert(checkpoint)

    def execute(self, sender: str, to: str | None, call: Call) -> tuple[bytes, list[KeptLog]]:
        """Execute a transaction; return its output, or the new contract's address, and its events.

        revm reverts the changes of one that fails.
        """
        try:
            if to is None:
                output = bytes.fromhex(self.evm.deploy(sender, call.data, call.value_wei)[2:])
            else:
                output = self._run(sender, to, call.data, call.value_wei, call.gas_limit)
        except RuntimeError as failed:
            self._refuse(failed)
        finally:
            self.evm.reset_transient_storage()
        result = self.evm.result
        assert result is not None
        new = [
            KeptLog(
                Address(to_checksum_address(log.address)),
                tuple(bytes.fromhex(topic[2:]) for topic in log.topics),
                bytes(log.data[1]),
                self.head.number,
                index,
            )
            for index, log in enumerate(result.logs)
        ]
        self.logs += new
        return output, new

    def _run(self, sender: str, to: str, data: bytes, value: int, gas: int = GAS) -> bytes:
        try:
            return bytes(self.evm.message_call(sender, to, data, value, gas))
        except RuntimeError as failed:
            self._refuse(failed)

    @staticmethod
    def _refuse(failed: RuntimeError) -> NoReturn:
        word, data = _failure(failed)
        reason = reason_text(data) or word
        raise TransactionRevertedError(f"reverted: {reason}", reason=reason) from failed


class RevmRpc(Rpc):
    """The JSON-RPC methods that the bindings need."""

    def __init__(self, node: RevmNode) -> None:
        self.node = node

    def request(self, method: str, *params: Any) -> Any:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        if method == "eth_getCode":
            return "0x" + bytes(self.node.evm.get_code(params[0]) or b"").hex()
        if method == "eth_estimateGas":
            return hex(GAS)
        if method == "eth_getLogs":
            return self._logs(**params[0])
        raise LedgerError(f"revm has no {method}")

    def _logs(self, address: str, fromBlock: str, toBlock: str, topics: Sequence[str] = ()) -> Any:
        first, last = int(fromBlock, 16), int(toBlock, 16)
        wanted = [bytes.fromhex(topic[2:]) for topic in topics]
        return [
            {
                "blockNumber": hex(log.block),
                "transactionHash": "0x" + bytes(32).hex(),
                "logIndex": hex(log.index),
                "address": log.address,
                "topics": ["0x" + topic.hex() for topic in log.topics],
                "data": "0x" + log.data.hex(),
            }
            for log in self.node.logs
            if log.address == address
            and first <= log.block <= last
            and list(log.topics[: len(wanted)]) == wanted
        ]

    @property
    def embedded_node(self) -> None:
        return None

    @property
    def where(self) -> str:
        return "revm"

    def call(self, to: str, data: bytes, block: int | str = "latest", **fields: str) -> bytes:
        assert block == "latest"
        sender, value = fields.get("from", NOBODY), int(fields.get("value", "0x0"), 16)
        return self.node.call(to, data, sender, value)

    def block(self, tag: int | str = "latest") -> BlockInfo:
        assert tag == "latest"
        return BlockInfo(self.node.head.number, bytes(32), self.node.head.timestamp, Wei(0))


class RevmTransactor(Transactor):
    """Executes calls at once, without signatures; gas is free."""

    def __init__(self, node: RevmNode) -> None:
        self.node = node
        super().__init__(RevmRpc(node))

    def _sign(
        self, account: LocalAccount, call: Call, to: Address | None, max_fee: Wei
    ) -> SignedCall:
        return SignedCall(b"", bytes(32), Address(account.address), 0, to, call)

    def send_batch(
        self, batch: Sequence[SignedCall], *, timestamp: int | None = None
    ) -> list[Receipt]:
        """All in one block, as the embedded node in this process does."""
        self.node.mine(timestamp)
        receipts, refused = [], None
        for signed in batch:
            try:
                receipts.append(self._carry_out(signed))
            except TransactionRevertedError as reverted:
                refused = refused or reverted
        if refused:
            raise refused
        return receipts

    def _carry_out(self, signed: SignedCall) -> Receipt:
        output, logs = self.node.execute(signed.sender, signed.to, signed.call)
        created = None if signed.to else Address(to_checksum_address("0x" + output.hex()))
        emitter = signed.to or created
        decode = EVENT_SETS[signed.call.contract].decode
        return Receipt(
            transaction_hash=bytes(32),
            block_number=self.node.head.number,
            block_hash=bytes(32),
            gas_used=0,
            gas_price_wei=Wei(0),
            contract_address=created,
            events=tuple(
                decode(log.topics, log.data, log.place) for log in logs if log.address == emitter
            ),
        )
