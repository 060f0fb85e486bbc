"""What disputes cost: as ``docs/disputes.md`` says, and below the limits."""

import pytest

from benchmarks import dispute_gas
from benchmarks.dispute_gas import BEGIN, DOCUMENT, END, LIMIT_ANY_N, SIZES
from contracts.binding.referee_calls import ANSWER_GAS, END_GAS, EVIDENCE_GAS, QUESTION_GAS


def rows() -> dict[tuple[str, str], list[tuple[int, int] | None]]:
    """The cells of the document's table by offence and transaction."""
    table = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]
    found, offence = {}, ""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 3 + len(SIZES) or not cells[2].startswith("`"):
            continue
        offence = cells[0] or offence
        found[offence, cells[2].strip("`")] = [
            None if cell == "too large" else tuple(int(n.replace(",", "")) for n in cell.split("/"))
            for cell in cells[3:]
        ]
    return found


@pytest.mark.slow
def test_the_document_is_current() -> None:
    used = dispute_gas.measure(10)
    shown = {name: cells[0] for (_, name), cells in rows().items()}
    assert shown == used, "run python -m benchmarks.dispute_gas"


def test_every_transaction_but_the_direct_one_stays_below_a_million_gas() -> None:
    table = rows()
    assert len({offence for offence, _ in table}) == len(dispute_gas.OFFENCES)
    for (_, name), cells in table.items():
        if name != "challenge_chunk":
            assert all(cell is not None and cell[0] < LIMIT_ANY_N for cell in cells), name


def test_no_cost_grows_faster_than_the_proofs() -> None:
    """From 10 to 5,000 contributors a few more digests: constant but for the logarithm."""
    for (_, name), cells in rows().items():
        if name != "challenge_chunk":
            first, *_, last = cells
            assert first is not None
            assert last is not None
            assert last[0] < 1.25 * first[0], name


def test_limits_cover_the_dearest_call_with_room() -> None:
    limits = {"answer": ANSWER_GAS, "demand": QUESTION_GAS, "prove": EVIDENCE_GAS}
    for (_, name), cells in rows().items():
        limit = next((v for k, v in limits.items() if name.startswith(k)), EVIDENCE_GAS)
        if name in ("timeout", "close"):
            limit = END_GAS
        if name in ("challenge_column", "challenge_totals", "challenge_payments"):
            limit = QUESTION_GAS
        if name != "challenge_chunk":
            assert all(cell is not None and cell[0] * 3 // 2 <= limit for cell in cells), name


def test_the_largest_direct_challenge_uses_its_bytes() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    assert "n = 82, " in text
    assert "gas of 16,777,216" in text
