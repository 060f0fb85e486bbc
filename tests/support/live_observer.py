"""Somebody outside a federation, who remembers what it once acknowledged."""

import threading

from live_federation import Federation

from contracts.binding.reader import FederationReader
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import RoundId


class Observer:
    """Writes down what a federation acknowledges, and says what it no longer stands by.

    A thread asks for the newest block and for the rounds every half second. What was once said
    (a block's hash, a sealed round's model, a final round) must be said again by every later life.
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
                self._look(reader)
            except (FedproofError, OSError):
                reader = None  # away: it will be asked again
            self._stopping.wait(self._every_s)

    def _look(self, reader: FederationReader) -> None:
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
        """Ask for everything that was seen again; assert that all of it is still there."""
        reader = self._federation.reader()
        for number, seen in list(self.blocks.items()):
            found = reader.block(number).hash
            if found != seen:
                self.lost.append(f"block {number} was {seen.hex()}, is {found.hex()}")
        for number in list(self.rounds):
            self._note(reader.round(RoundId(number)), number)
        assert not self.lost, self.lost


def follows(before: ChainRound, after: ChainRound) -> bool:
    """Whether a round may have come from one state to the other: nothing sealed is taken back."""
    if after.status < before.status:
        return False
    if before.status >= RoundStatus.SEALED and after.status != RoundStatus.VOID:
        return before.model_root == after.model_root and (
            before.contributors_root == after.contributors_root
        )
    return before.status != RoundStatus.VOID or after.status == RoundStatus.VOID
