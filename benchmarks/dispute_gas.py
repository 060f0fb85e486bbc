"""Measures the gas of disputes: ``python -m benchmarks.dispute_gas`` rewrites its tables.

Rounds with every offence, of 10 to 5,000 contributors and a million parameters, are committed to
the embedded chain and proven wrong one offence at a time. Gas is deterministic: the numbers are
those of the committed bytecode, on any machine.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.dispute_bench import DEPOSIT_WEI, DisputeBench
from contracts.binding import referee_calls
from coordinator.protocol.disputes import CaseKind, Column, Evidence, ProvenEntry, Question
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.disputes.answers import answer_to, column_of
from coordinator.protocol.disputes.cases import ColumnAnswer, OpenCase
from coordinator.protocol.types import RoundId

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "disputes.md"
SIZES: Final = (10, 100, 1_000, 5_000)
BEGIN: Final = "<!-- python -m benchmarks.dispute_gas writes from here -->"
END: Final = "<!-- to here -->"
LIMIT_ANY_N: Final = 1_000_000
LIMIT_TRANSACTION: Final = 16_777_216

Used = dict[str, tuple[int, int]]
"""Gas and transaction bytes, by transaction."""


def measure(n: int) -> Used:
    """Return the cost of every transaction of every dispute in a round of ``n`` contributors."""
    bench = DisputeBench(n)
    used: Used = {}
    for name, make in {**_proofs(bench), **_direct(bench)}.items():
        with bench.undone():
            used[name] = bench.cost(bench.watcher, referee_calls.convict(make()))
    for kind in (CaseKind.AGGREGATE, CaseKind.TOTALS, CaseKind.PAYMENTS):
        with bench.undone():
            used.update(_column(bench, kind))
    for kind in list(CaseKind)[3:]:
        with bench.undone():
            used.update(_demand(bench, kind))
    bench.close()
    return used | {"challenge_padding": _padding()}


@cache
def _padding() -> tuple[int, int]:
    """Return the cost of a proof about the new model alone: the same for any number of updates."""
    bench = DisputeBench(SIZES[0], padded=True)
    _, last = bench.padded_model()
    evidence = build.challenge_padding(bench.round, last)
    used = bench.cost(bench.watcher, referee_calls.convict(evidence))
    bench.close()
    return used


def _direct(bench: DisputeBench) -> Mapping[str, Callable[[], Evidence]]:
    if not build.fits_directly(bench.rule, bench.n):
        return {}
    return {"challenge_chunk": lambda: build.challenge_chunk(bench.round, bench.parameter)}


def _proofs(bench: DisputeBench) -> Mapping[str, Callable[[], Evidence]]:
    """Return the proofs of single records; the bench's round has each of these faults."""
    round_ = bench.round
    at = bench.places
    return {
        "challenge_leaf": lambda: ask.challenge_leaf(round_, at["leaf"]),
        "challenge_signature": lambda: ask.challenge_signature(round_, at["signature"]),
        "challenge_pair": lambda: ask.challenge_pair(round_, at["pair"], at["pair"] + 1),
        "challenge_score": lambda: ask.challenge_score(round_, at["score"], at["score"]),
        "challenge_rule": lambda: ask.challenge_rule(round_),
        "challenge_score_form": lambda: ask.challenge_score_form(round_, at["score form"]),
        "challenge_score_pair": lambda: ask.challenge_score_pair(round_, 0, at["second score"]),
        "challenge_stray_score": lambda: ask.challenge_stray_score(round_, at["stray score"]),
        "challenge_reward": lambda: ask.challenge_reward(round_, at["reward"]),
        "challenge_idle_reward": lambda: ask.challenge_reward(round_, at["idle reward"]),
        "challenge_outsider": lambda: ask.challenge_outsider(round_, at["outsider"]),
    }


def _entry(column: Column, index: int) -> ProvenEntry:
    return ProvenEntry(column.entries[index], column.path(index))


def _question(bench: DisputeBench, kind: CaseKind) -> Question:
    if kind is CaseKind.AGGREGATE:
        return ask.challenge_column(bench.round, bench.parameter)
    if kind is CaseKind.TOTALS:
        return ask.challenge_totals(bench.round)
    return ask.challenge_payments(bench.round)


def _column(bench: DisputeBench, kind: CaseKind) -> Used:
    """Return the costs of a question for a column, its answer, one demand, and each proof."""
    used: Used = {}
    asked = _question(bench, kind)
    question = referee_calls.ask(asked, DEPOSIT_WEI)
    used[asked.function] = bench.cost(bench.watcher, question)
    with bench.undone():
        bench.wait()
        used["timeout"] = bench.cost(bench.watcher, referee_calls.timeout(1))
    # One false step in the middle: everything after it is off by one.
    right, n = column_of(bench.round, kind, bench.parameter), bench.n
    middle = n // 2
    shifted = ((e[0] + 1, *e[1:]) for e in right.entries[middle + 1 :])
    false = Column((*right.entries[: middle + 1], *shifted), right.lo, right.hi)
    answer = referee_calls.answer_column(ColumnAnswer(1, false.root, false.lo, false.hi))
    used["answer_column"] = bench.cost(bench.coordinator, answer)
    with bench.undone():
        demand = referee_calls.demand_entry(1, middle, DEPOSIT_WEI)
        used["demand_entry"] = bench.cost(bench.watcher, demand)
        published = Evidence("answer_entry", (1, int(kind), *_pair(_entry(false, middle))))
        used["answer (entry)"] = bench.cost(bench.coordinator, referee_calls.answer(1, published))
    proofs = _column_proofs(bench, kind, false, middle)
    for name, evidence in proofs.items():
        with bench.undone():
            used[name] = bench.cost(bench.watcher, referee_calls.convict(evidence))
    bench.wait()
    used["close"] = bench.cost(bench.watcher, referee_calls.close(1))
    used["prove_first"] = _first(bench, kind, asked, right)
    return used


def _first(bench: DisputeBench, kind: CaseKind, asked: Question, right: Column) -> tuple[int, int]:
    """Return the cost of proving that a column does not start from zero, in a second case."""
    bench.cost(bench.watcher, referee_calls.ask(asked, DEPOSIT_WEI))
    false = Column(((1, 0, 0, 0, 0), *right.entries[1:]))
    answer = referee_calls.answer_column(ColumnAnswer(2, false.root, 0, 0))
    bench.cost(bench.coordinator, answer)
    proof = build.prove_first(2, kind, _entry(false, 0))
    return bench.cost(bench.watcher, referee_calls.convict(proof))


def _pair(entry: ProvenEntry) -> tuple[object, object]:
    return entry.entry, entry.path


def _column_proofs(
    bench: DisputeBench, kind: CaseKind, false: Column, at: int
) -> Mapping[str, Evidence]:
    before, after, last = _entry(false, at), _entry(false, at + 1), _entry(false, bench.n)
    if kind is CaseKind.AGGREGATE:
        step = build.prove_step(bench.round, 1, bench.parameter, at, before, after)
        end = build.prove_last(bench.round, 1, bench.parameter, last)
    elif kind is CaseKind.TOTALS:
        step = build.prove_totals_step(bench.round, 1, at, before, after)
        end = build.prove_totals_last(1, last)
    else:
        step = build.prove_payments_step(bench.round, 1, at, before, after)
        end = build.prove_payments_last(1, last)
    return {step.function: step, end.function: end}


def _demand(bench: DisputeBench, kind: CaseKind) -> Used:
    """Return the costs of a demand for data and of its answer."""
    label = kind.name.lower().replace("_", " ")
    index = bench.n if kind is CaseKind.REWARD else bench.n // 2
    chunk = 0
    if kind in (CaseKind.UPDATE, CaseKind.BASE_MODEL, CaseKind.NEW_MODEL):
        index = index if kind is CaseKind.UPDATE else 0
        chunk = bench.parameter // bench.rule.chunk_values
        question = ask.demand_chunk(bench.round, kind, chunk, index)
    else:
        index = 0 if kind is CaseKind.RULE else index
        question = ask.demand_record(bench.round, kind, index)
    asked = bench.cost(bench.watcher, referee_calls.ask(question, DEPOSIT_WEI))
    case = OpenCase(1, RoundId(1), kind, index, chunk, None)
    answer = answer_to(bench.round, case)
    assert isinstance(answer, Evidence)
    given = bench.cost(bench.coordinator, referee_calls.answer(1, answer))
    return {f"{question.function} ({label})": asked, f"answer ({label})": given}


def measure_direct_limit() -> tuple[int, int, int]:
    """Return the largest n of a direct challenge with full chunks, its gas and its bytes."""
    rule = DisputeBench.make_rule()
    largest = max(n for n in range(1, build.MAX_DIRECT) if build.fits_directly(rule, n))
    bench = DisputeBench(largest)
    evidence = build.challenge_chunk(bench.round, bench.parameter)
    gas, size = bench.cost(bench.watcher, referee_calls.convict(evidence))
    bench.close()
    return largest, gas, size


# --- the document -----------------------------------------------------------------------------


def _withheld(what: str, label: str, function: str) -> tuple[str, str, tuple[str, ...]]:
    who = "anyone with the rule" if function == "demand_chunk" else "anyone"
    return f"withholds {what}", who, (f"{function} ({label})", f"answer ({label})")


OFFENCES: Final = (
    ("new model wrong, direct", "anyone with the updates", ("challenge_chunk",)),
    (
        "new model wrong, any n",
        "anyone with the updates",
        (
            *("challenge_column", "answer_column", "demand_entry", "answer (entry)"),
            *("prove_first", "prove_step", "prove_last"),
        ),
    ),
    ("new model has values behind its end", "anyone with the chunk", ("challenge_padding",)),
    (
        "totals wrong",
        "anyone with the contributors",
        ("challenge_totals", "answer_column", "prove_totals_step", "prove_totals_last"),
    ),
    ("rule invalid, or too few for it", "anyone with the rule", ("challenge_rule",)),
    ("leaf wrong by itself", "anyone with the contributors", ("challenge_leaf",)),
    ("signature invalid", "anyone with the contributors", ("challenge_signature",)),
    ("leaves contradict", "anyone with the contributors", ("challenge_pair",)),
    ("score by examples wrong", "anyone with the scores", ("challenge_score",)),
    ("score of another round, or too large", "anyone with the scores", ("challenge_score_form",)),
    ("two scores for one", "anyone with the scores", ("challenge_score_pair",)),
    ("score for nobody who took part", "anyone with the scores", ("challenge_stray_score",)),
    (
        "score total or payment wrong",
        "anyone with the scores",
        ("challenge_payments", "answer_column", "prove_payments_step", "prove_payments_last"),
    ),
    ("reward of a contributor wrong", "anyone with the rewards", ("challenge_reward",)),
    ("reward of another member wrong", "anyone with the rewards", ("challenge_idle_reward",)),
    ("pays an outsider", "anyone with the rewards", ("challenge_outsider",)),
    _withheld("the rule", "rule", "demand_record"),
    _withheld("a contributor", "contributor", "demand_record"),
    _withheld("an update", "update", "demand_chunk"),
    _withheld("the base model", "base model", "demand_chunk"),
    _withheld("the new model", "new model", "demand_chunk"),
    _withheld("a score", "score", "demand_record"),
    _withheld("a reward", "reward", "demand_record"),
    ("no answer in time", "anyone", ("timeout",)),
    ("(column not refuted in time)", "anyone", ("close",)),
)


def render(used: Mapping[int, Used], limit: tuple[int, int, int]) -> str:
    """Return the tables: gas, and bytes of the transaction, for each size."""
    sizes = sorted(used)
    head = "".join(f" n = {n:,} |" for n in sizes)
    lines = [
        f"| offence | who can prove it | transaction |{head}",
        "|---|---|---|" + "---:|" * len(sizes),
    ]
    for offence, who, names in OFFENCES:
        for i, name in enumerate(names):
            cells = "".join(f" {_cell(used[n].get(name))} |" for n in sizes)
            left = f"{offence} | {who}" if i == 0 else " | "
            lines.append(f"| {left} | `{name}` |{cells}")
    n, gas, size = limit
    lines += [
        "",
        f"Largest direct challenge with chunks of 256 values and a million parameters: n = {n},"
        f" {gas:,} gas of {LIMIT_TRANSACTION:,}, {size:,} bytes of"
        f" {build.MAX_TRANSACTION_BYTES:,}.",
    ]
    return "\n".join(lines)


def _cell(cost: tuple[int, int] | None) -> str:
    return "too large" if cost is None else f"{cost[0]:,} / {cost[1]:,}"


def write(tables: str, document: Path = DOCUMENT) -> None:
    """Write the tables between the document's marks."""
    text = document.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the tables, and fail if a transaction of the any-n way is too expensive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispute_gas", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    sizes: list[int] = parser.parse_args(arguments).sizes
    used = {}
    for n in sizes:
        used[n] = measure(n)
        print(f"n = {n}: {len(used[n])} transactions measured", flush=True)
    write(render(used, measure_direct_limit()))
    too_expensive = [
        f"n = {n}: {name} takes {gas:,} gas, more than {LIMIT_ANY_N:,}"
        for n, costs in used.items()
        for name, (gas, _) in costs.items()
        if name != "challenge_chunk" and gas >= LIMIT_ANY_N
    ]
    print("\n".join(too_expensive) or f"written to {DOCUMENT.name}")
    return 1 if too_expensive else 0


if __name__ == "__main__":
    sys.exit(main())
