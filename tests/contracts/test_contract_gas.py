"""What a call costs: flat in the contributors (invariant 13), and as ``docs/gas.md`` says."""

import pytest

from benchmarks import gas
from contracts.binding.calls import DEPLOY_GAS_LIMIT, GAS_LIMITS


@pytest.fixture(scope="module")
def rounds() -> dict[int, dict[str, int]]:
    return {size: gas.measure_round(size) for size in (5, 50)}


@pytest.fixture(scope="module")
def others() -> dict[str, int]:
    return gas.measure_calls()


def test_a_round_costs_the_same_with_ten_times_the_contributors(
    rounds: dict[int, dict[str, int]],
) -> None:
    # 12 gas for a byte of calldata that is not zero: nothing else may differ.
    for name in (*gas.ROUND_CALLS, "round"):
        assert abs(rounds[50][name] - rounds[5][name]) <= 24
    assert rounds[50]["round"] < 460_000


def test_the_document_is_current(rounds: dict[int, dict[str, int]], others: dict[str, int]) -> None:
    written = gas.DOCUMENT.read_text().splitlines()
    table = [line.split("|")[2:4] for line in written if line.count("|") == 6]
    shown = {int(a.replace(",", "")): int(b.replace(",", "")) for a, b in table if "," in a}
    for name in (*gas.ROUND_CALLS, "round", "first round", "claim, first time", "claim, later"):
        assert shown[rounds[5][name]] == rounds[50][name], f"{name}: run python -m benchmarks.gas"
    fresh = gas.render(others, rounds).splitlines()
    rows = fresh[fresh.index("## Every other call") :]
    assert rows == written[written.index("## Every other call") :], "run python -m benchmarks.gas"


def test_every_limit_covers_its_call_with_room(
    rounds: dict[int, dict[str, int]], others: dict[str, int]
) -> None:
    dearest: dict[str, int] = {}
    first = {"open_round": 145_000, "seal_round": 185_000, "finalize_round": 120_000}
    for name, used in [*others.items(), *rounds[50].items(), *first.items()]:
        function = name.partition(", ")[0]
        dearest[function] = max(used, dearest.get(function, 0))
    for function, limit in {**GAS_LIMITS, "deploy": DEPLOY_GAS_LIMIT}.items():
        assert dearest[function] * 3 // 2 <= limit, function
        assert limit <= 16_777_216  # EIP-7825


def test_the_command_writes_the_document(
    tmp_path: "pytest.TempPathFactory", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gas, "SIZES", (3,))
    out = tmp_path / "gas.md"
    assert gas.main(["--out", str(out)]) == 0
    text = out.read_text()
    assert "| call | 3 |" in text
    assert "| `slash_equivocation` | " in text
