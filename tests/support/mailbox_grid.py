"""A grid that stores messages as the SuperLink does; replies may not be there yet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flower_bench import DOMAIN, FlowerBench, LocalGrid, local_apps, signer
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo

from coordinator.protocol import wire
from coordinator.protocol.types import Presence


@dataclass
class Conduct:
    """How nodes behave.

    ``silent`` nodes answer presence queries only, ``mute`` ones answer those without a statement,
    ``wrong`` ones reply without content, and ``failing`` ones with the given error, once.
    ``evaluating`` replaces the app's reply to an evaluate message; ``None`` sends none.
    """

    silent: set[int] = field(default_factory=set)
    mute: set[int] = field(default_factory=set)
    wrong: set[int] = field(default_factory=set)
    failing: dict[int, Error] = field(default_factory=dict)
    evaluating: dict[int, Callable[[Message], Message] | None] = field(default_factory=dict)


class MailboxGrid(LocalGrid):
    """Nodes that answer presence queries with their account, and all else with their app.

    ``untaken`` is how many messages to a node, presence queries excepted, the grid refuses;
    ``activated`` is since when a node is connected; ``reconnections`` stands in for
    ``fetching.reconnections_of``.
    """

    def __init__(self, bench: FlowerBench, clients: int = 4) -> None:
        super().__init__(local_apps(bench, clients))
        self._bench = bench
        self.conduct = Conduct()
        self.offline: set[int] = set()
        self.untaken: dict[int, int] = {}
        self.activated: dict[int, str] = {}
        self.reconnections = 0
        self.box: dict[str, Message] = {}
        self.pulled: list[str] = []
        self.presence_queries: list[int] = []

    def get_node_ids(self) -> list[int]:
        return [node for node in self.apps if node not in self.offline]

    def get_nodes(self) -> list[NodeInfo]:
        ids = self.get_node_ids()
        return [NodeInfo(node_id=n, last_activated_at=self.activated.get(n, "")) for n in ids]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids = []
        for message in messages:
            number = f"m{len(self.sent)}"
            vars(message.metadata)["_message_id"] = number
            self.sent.append(message)
            if self._takes(message):
                self.box[number] = message
                ids.append(number)
            else:
                ids.append("")
        return ids

    def _takes(self, message: Message) -> bool:
        node = message.metadata.dst_node_id
        if wire.HELLO in message.content.config_records or not self.untaken.get(node):
            return True
        self.untaken[node] -= 1
        return False

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = []
        for number in message_ids:
            message = self.box.get(number)
            if message is None or self._is_silent(message):
                continue
            self.pulled.append(number)
            del self.box[number]
            replies.append(self._reply(message))
        return replies

    def _is_silent(self, message: Message) -> bool:
        is_hello = wire.HELLO in message.content.config_records
        node = message.metadata.dst_node_id
        if message.metadata.message_type == "evaluate" and node in self.conduct.evaluating:
            return self.conduct.evaluating[node] is None
        return not is_hello and message.metadata.dst_node_id in self.conduct.silent

    def _reply(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if wire.HELLO in message.content.config_records:
            self.presence_queries.append(node)
            return self._hello(message, node)
        evaluates = self.conduct.evaluating.get(node)
        if message.metadata.message_type == "evaluate" and evaluates is not None:
            return evaluates(message)
        if node in self.conduct.wrong:
            return Message(RecordDict(), reply_to=message)
        if node in self.conduct.failing:
            error = self.conduct.failing.pop(node)
            if error.code == ErrorCode.NODE_UNAVAILABLE:
                self.offline.add(node)
            return Message(error, reply_to=message)
        return self.answer(message)

    def _hello(self, message: Message, node: int) -> Message:
        if node in self.conduct.mute:
            return Message(RecordDict({"config": ConfigRecord()}), reply_to=message)
        statement = Presence(node, self._bench.ledger.now() + 1_000)
        signed = signer(node - 2).sign_statement(DOMAIN, statement)
        record = ConfigRecord(
            {
                "version": wire.WIRE_VERSION,
                "account": signed.signer,
                "expiry": statement.expiry,
                "signature": signed.signature.hex(),
            }
        )
        return Message(RecordDict({wire.HELLO: record}), reply_to=message)
