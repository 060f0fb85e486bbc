"""What the referee's sources say of themselves, and that every invariant has its test."""

import re
from pathlib import Path

import pytest

from contracts import compile as compiler
from contracts.binding.artifacts import load_artifact

SOURCES = sorted(compiler.REFEREE_FOLDER.glob("*.vy"))
NAMES = ("aggregate_examiner", "record_examiner", "referee")
EXTERNAL = re.compile(
    r'@external\n(?:@\w+\n)*def (?P<name>\w+)\((?P<args>[^)]*)\)[^:]*:\n    """\n(?P<doc>.*?)"""',
    re.DOTALL,
)


def documents(name: str) -> dict[str, str]:
    text = (compiler.REFEREE_FOLDER / f"{name}.vy").read_text()
    return {m["name"]: " ".join(m["doc"].split()) for m in EXTERNAL.finditer(text)}


@pytest.mark.parametrize("name", NAMES)
def test_every_external_function_says_who_what_and_when(name: str) -> None:
    abi = {e["name"]: e for e in load_artifact(name).abi if e["type"] == "function"}
    found = documents(name)
    assert set(found) - {"__default__"} >= set(abi) - {"case_count", "unanswered", "locked"}
    for function, text in found.items():
        assert "@notice" in text, function
        mutability = abi.get(function, {"stateMutability": "nonpayable"})["stateMutability"]
        if mutability in ("payable", "nonpayable"):
            assert "Reverts" in text, function
            assert "Emits" in text, function


def test_reasons_are_short_and_documented() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    raised = set(re.findall(r'assert [^"]*?,\s*\(?\s*"([^"]+)"', text))
    assert all(len(reason) <= 32 for reason in raised)
    assert len(raised) > 40
    docs = "\n".join(m["doc"] for path in SOURCES for m in EXTERNAL.finditer(path.read_text()))
    documented = {r for r in re.findall(r'"([^"]+)"', " ".join(docs.split())) if ": " in r}
    # What any wrong proof is refused with is said once, in the document.
    common = set(re.findall(r"`(dispute: [^`]+)`", DISPUTES.read_text()))
    federation = {"round: not live", "round: window closed"}
    constructor = {reason for reason in raised if reason.startswith("referee: ")}
    assert raised - documented - common == constructor
    assert documented - raised == federation
    assert common <= raised | {"dispute: ... is right"}


DISPUTES = Path(compiler.__file__).parent.parent / "docs" / "disputes.md"


@pytest.mark.parametrize("name", ["aggregate_examiner", "record_examiner"])
def test_examiners_export_verdicts_and_nothing_else(name: str) -> None:
    """Whatever one of their functions returns, only a verdict is four words long."""
    for entry in load_artifact(name).abi:
        if entry["type"] != "function":
            continue
        outputs = entry["outputs"]
        assert entry["stateMutability"] == "view", entry["name"]
        if entry["name"] == "federation":
            assert [o["type"] for o in outputs] == ["address"]
        else:
            words = [component["type"] for component in outputs[0]["components"]]
            assert words == ["bytes32", "uint256", "uint256", "bytes32"]


def test_no_two_functions_of_the_examiners_share_a_selector() -> None:
    """Nor one with the referee, which would then not pass it on."""
    selectors = [
        (function.selector, function.name)
        for name in NAMES
        for function in load_artifact(name).functions.values()
        if function.name != "federation"
    ]
    assert len({selector for selector, _ in selectors}) == len(selectors)


def test_every_invariant_is_cited_by_a_test() -> None:
    text = (compiler.SOURCE_FOLDER.parent / "INVARIANTS.md").read_text()
    numbers = set(re.findall(r"^(D\d+)\. ", text, re.MULTILINE))
    assert numbers == {f"D{i}" for i in range(1, 10)}
    machine = Path(__file__).with_name("test_referee_machine.py").read_text()
    assert "invariants D1 to D6" in machine
    trials = Path(__file__).parents[2] / "property" / "test_disputes_trials.py"
    assert "invariants D7 and D8" in trials.read_text()
    assert "invariant D9" in Path(__file__).with_name("test_demands.py").read_text()
