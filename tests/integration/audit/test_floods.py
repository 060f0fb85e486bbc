"""A flood of questions on a chain with a block every twelve seconds: all are answered in time."""

from collections.abc import Callable

import pytest
from fraud_bench import ETHER, FraudBench

from contracts.binding import referee_calls
from contracts.binding.referee import CaseRecord
from contracts.binding.rpc import Rpc
from contracts.binding.transactions import Receipt
from contracts.node.provider import EmbeddedProvider
from coordinator.audit import responder as responding
from coordinator.audit.responder import BATCH, Responder, honest_reply
from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.disputes import CaseKind, DisputedRound, Question, answer_to, record_moves
from coordinator.protocol.errors import LedgerError, TransactionRevertedError
from coordinator.protocol.types import RoundId

Make = Callable[..., FraudBench]

BLOCK_S = 12
ANSWER_S = 60
PER_BLOCK = 50
"""Questions a block."""


@pytest.fixture
def bench(make_bench: Make) -> FraudBench:
    """One honest round on a slow chain."""
    made = make_bench(chain={"block_time_s": BLOCK_S, "answer_s": ANSWER_S})
    made.play(watched=False)
    return made


def questions(round_: DisputedRound, count: int) -> list[Question]:
    """Demands and columns, in turn."""
    kinds = [
        record_moves.demand_record(round_, CaseKind.CONTRIBUTOR, 1),
        record_moves.demand_chunk(round_, CaseKind.UPDATE, 4, 3),
        record_moves.challenge_totals(round_),
        record_moves.challenge_column(round_, 7),
    ]
    return [kinds[number % len(kinds)] for number in range(count)]


def ask_together(bench: FraudBench, count: int) -> None:
    """Ask ``count`` questions in one block, or as few as they fit in."""
    chain = bench.chain
    round_ = RoundReader(chain.federation, bench.public).read(RoundId(1))
    deposit = chain.referee.settings.deposit_wei
    calls = [referee_calls.ask(question, deposit) for question in questions(round_, count)]
    chain.referee.transact_each(chain.identities.contributors[0], calls)


class CountingReader(RoundReader):
    """Counts how often rounds are read."""

    reads = 0

    def read(self, round_id: RoundId, *, without_store: bool = False) -> DisputedRound:
        self.reads += 1
        return super().read(round_id, without_store=without_store)


def responder(bench: FraudBench, reader: RoundReader | None = None) -> Responder:
    chain = bench.chain
    rounds = reader or RoundReader(chain.federation, bench.public)
    return Responder(chain.federation, chain.referee, rounds, chain.identities.coordinator)


def test_many_answers_go_into_one_block_and_the_round_is_read_once(bench: FraudBench) -> None:
    ask_together(bench, BATCH)
    reader = CountingReader(bench.chain.federation, bench.public)
    before = bench.chain.node.head_number
    given = responder(bench, reader).step()
    assert len(given) == BATCH
    assert bench.chain.node.head_number == before + 1
    assert reader.reads == 1
    assert bench.chain.referee.unanswered() == 0


def test_a_flood_is_answered_before_anything_is_due(bench: FraudBench) -> None:
    referee, node = bench.chain.referee, bench.chain.node
    for _ in range(3):
        ask_together(bench, PER_BLOCK)
    flood = referee.unanswered()
    assert flood == 3 * PER_BLOCK
    # One answer a block would take half an hour; the last question is due in four minutes.
    last = max(case.due for case in referee.open_cases())
    assert flood * BLOCK_S > last - node.next_timestamp
    given = responder(bench).step()
    assert len(given) == flood
    assert referee.unanswered() == 0
    assert bench.statuses() == ["settled"]
    assert bench.bond_wei == 10 * ETHER


def test_what_is_due_first_is_answered_first(bench: FraudBench) -> None:
    ask_together(bench, PER_BLOCK)
    seen: list[int] = []

    def noted(round_: DisputedRound, case: CaseRecord) -> responding.Reply | None:
        seen.append(case.due)
        return honest_reply(round_, case)

    chain = bench.chain
    # The entry of case 3's column is demanded later than others were asked, and due after them.
    assert len(responder(bench).step()) == PER_BLOCK
    ask_together(bench, 3)
    chain.referee.demand_entry(chain.identities.contributors[0], 3, 5)
    rounds = RoundReader(chain.federation, bench.public)
    coordinator = chain.identities.coordinator
    step = Responder(chain.federation, chain.referee, rounds, coordinator, noted).step
    assert [given.case_id for given in step()] == [51, 52, 53, 3]
    assert seen == sorted(seen)


def test_closed_cases_are_forgotten_but_not_at_once(
    bench: FraudBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_together(bench, 8)
    answers, chain = responder(bench), bench.chain
    assert len(answers.step()) == 8
    asked: list[int] = []
    look = chain.referee.case

    def case(number: int) -> CaseRecord | None:
        asked.append(number)
        found: CaseRecord | None = look(number)
        return found

    monkeypatch.setattr(chain.referee, "case", case)
    answers.step()
    assert asked == list(range(1, 9))  # the demands among them are closed; a chain may go back
    for _ in range(responding.FORGET_AFTER_BLOCKS):
        chain.node.mine()
    answers.step()
    asked.clear()
    answers.step()
    assert asked == [3, 4, 7, 8]  # the columns, which may be asked for entries


class HeldBack(Rpc):
    """A node elsewhere: takes transactions, and mines them when a first receipt is asked for.

    The one of number ``refuses`` it does not take.
    """

    embedded_node = None

    def __init__(self, bench: FraudBench, refuses: int = -1) -> None:
        super().__init__(EmbeddedProvider(bench.chain.dispatcher))
        self._node, self._refuses = bench.chain.node, refuses
        self._offered = 0
        self._taken: list[bytes] = []

    def request(self, method: str, *params: object) -> object:
        if method == "eth_sendRawTransaction":
            self._offered += 1
            if self._offered - 1 == self._refuses:
                raise LedgerError("node: eth_sendRawTransaction refused: txpool is full")
            self._taken.append(bytes.fromhex(str(params[0])[2:]))
            return "0x" + bytes(32).hex()
        if method == "eth_getTransactionReceipt" and self._taken:
            self._node.mine(self._taken)
            self._taken = []
        return super().request(method, *params)


def test_answers_on_another_node_wait_for_no_receipt(
    bench: FraudBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_together(bench, 6)
    chain = bench.chain
    monkeypatch.setattr(chain.federation.transactor, "rpc", HeldBack(bench))
    before = chain.node.head_number
    assert len(responder(bench).step()) == 6
    assert chain.node.head_number == before + 1


def test_each_of_a_batch_has_an_outcome_of_its_own(
    bench: FraudBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reverts hides none, in this process and elsewhere; after a refused one none goes."""
    ask_together(bench, 4)
    referee, coordinator = bench.chain.referee, bench.chain.identities.coordinator
    round_ = RoundReader(bench.chain.federation, bench.public).read(RoundId(1))

    def answers(*cases: int) -> list[Receipt | LedgerError]:
        right = [(number, referee.case(number)) for number in cases]
        calls = [
            referee_calls.timeout(number)
            if case is None
            else referee_calls.reply(number, answer_to(round_, case.open_case))
            for number, case in right
        ]
        return referee.transact_each(coordinator, calls)

    first, reverted, second = answers(1, 99, 2)
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert isinstance(reverted, TransactionRevertedError)
    assert reverted.reason == "dispute: nothing to answer"
    monkeypatch.setattr(referee.transactor, "rpc", HeldBack(bench, refuses=2))
    reverted, third, refused, unsent = answers(99, 3, 4, 4)
    assert isinstance(reverted, TransactionRevertedError)
    assert isinstance(third, Receipt)
    assert refused is unsent
    assert "txpool is full" in str(refused)
    monkeypatch.undo()
    assert [given.case_id for given in responder(bench).step()] == [4]  # nonces go on


def test_what_the_node_refuses_is_raised_after_what_it_took(
    bench: FraudBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_together(bench, 4)
    referee = bench.chain.referee
    transact = referee.transact_each

    def some(account: object, calls: list) -> list:  # type: ignore[type-arg]
        taken: list = transact(account, calls[:3])  # type: ignore[arg-type, type-arg]
        return [*taken, LedgerError("node: full")]

    monkeypatch.setattr(referee, "transact_each", some)
    with pytest.raises(LedgerError, match="node: full"):
        responder(bench).step()
    assert referee.unanswered() == 1
    monkeypatch.undo()
    assert len(responder(bench).step()) == 1
