"""A flood of questions on a chain with a block every twelve seconds: all are answered in time."""

from collections.abc import Callable

import pytest
from fraud_bench import ETHER, FraudBench

from contracts import referee_calls
from contracts.chain.provider import EmbeddedProvider
from contracts.referee import CaseRecord
from contracts.rpc import Rpc
from coordinator.answer import responder as responding
from coordinator.answer.responder import BATCH, Responder, honest_reply
from coordinator.core.disputes import CaseKind, DisputedRound, Question, record_moves
from coordinator.core.errors import LedgerError
from coordinator.core.types import RoundId
from coordinator.watch.rounds import RoundReader

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


def test_answers_on_another_node_wait_for_no_receipt(make_bench: Make) -> None:
    """The node is reached by JSON-RPC alone, and mines when it is told to."""
    bench = make_bench()
    bench.play(watched=False)
    ask_together(bench, 6)
    chain = bench.chain
    sent: list[str] = []

    class HeldBack(Rpc):
        """Takes transactions, and mines them all when the first receipt is asked for."""

        embedded_node = None

        def request(self, method: str, *params: object) -> object:
            if method == "eth_sendRawTransaction":
                sent.append(str(params[0]))
                return "0x" + "00" * 32
            if method == "eth_getTransactionReceipt" and sent:
                chain.node.mine([bytes.fromhex(raw[2:]) for raw in sent])
                sent.clear()
            return super().request(method, *params)

    monkeyed = chain.federation.transactor
    original, monkeyed.rpc = monkeyed.rpc, HeldBack(EmbeddedProvider(chain.dispatcher))
    try:
        before = chain.node.head_number
        assert len(responder(bench).step()) == 6
    finally:
        monkeyed.rpc = original
    assert chain.node.head_number == before + 1


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
