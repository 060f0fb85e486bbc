"""An observer outside a federation, which checks that nothing it acknowledged is lost."""

import threading

from live_federation import Federation

from contracts.binding.reader import FederationReader
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import RoundId


class Observer:
    """Records what a federation acknowledges, and reports what a later answer contradicts.

    A thread reads the newest block and the rounds every half second. Everything acknowledged once
    (a block's hash, a sealed round's model, a final round) must still hold after every restart.
    """

    def __init__(self, federation: Federation, every_s: float = 0.5) -> None:
        self._federation, self._every_s = federation, every_s
        self.blocks: dict[int, bytes] = {}
        self.rounds: dict[int, ChainRound] = {}
        self.lost: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> "Observer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)

    def _run(self) -> None:
        reader: FederationReader | None = None
        while not self._stopping.is_set():
            try:
                reader = reader or self._federation.reader()
                self._read(reader)
            except (FedproofError, OSError):
                reader = None  # not running at the moment: connect again
            self._stopping.wait(self._every_s)

    def _read(self, reader: FederationReader) -> None:
        block = reader.block()
        known = self.blocks.setdefault(block.number, block.hash)
        if known != block.hash:
            self.lost.append(f"block {block.number} was {known.hex()}, is {block.hash.hex()}")
        last = reader.head().last_opened
        for number in range(max(1, last - 3), last + 1):
            self._note(reader.round(RoundId(number)), number)

    def _note(self, state: ChainRound, number: int) -> None:
        before = self.rounds.get(number)
        if before is not None and not follows(before, state):
            self.lost.append(f"round {number} was {before}, is {state}")
        self.rounds[number] = state

    def check(self) -> None:
        """Read everything that was seen once more, and assert that all of it is unchanged."""
        reader = self._federation.reader()
        for number, seen in list(self.blocks.items()):
            current = reader.block(number).hash
            if current != seen:
                self.lost.append(f"block {number} was {seen.hex()}, is {current.hex()}")
        for number in list(self.rounds):
            self._note(reader.round(RoundId(number)), number)
        assert not self.lost, self.lost


def follows(before: ChainRound, after: ChainRound) -> bool:
    """Whether a round may go from one state to the other: a sealed one keeps its roots."""
    if after.status < before.status:
        return False
    if before.status >= RoundStatus.SEALED and after.status != RoundStatus.VOID:
        return before.model_root == after.model_root and (
            before.contributors_root == after.contributors_root
        )
    return before.status != RoundStatus.VOID or after.status == RoundStatus.VOID
