"""The committed ABI and bytecode, and what the sources say of themselves."""

import json
import re
from pathlib import Path

import pytest

from contracts import compile as compiler
from contracts import event_classes
from contracts.binding.artifacts import ABI_FOLDER, CONTRACTS, abi_type, load_artifact
from contracts.event_classes import MODULES, event_comments, render_events
from coordinator.protocol.errors import ConfigError

SOURCES = sorted(compiler.SOURCE_FOLDER.glob("*.vy"))
EXTERNAL = re.compile(
    r'@external\n(?:@\w+\n)*def (?P<name>\w+)\((?P<args>[^)]*)\)[^:]*:\n    """\n(?P<doc>.*?)"""',
    re.DOTALL,
)


@pytest.mark.parametrize("name", CONTRACTS)
def test_committed_artifacts_are_what_the_sources_compile_to(name: str) -> None:
    artifact = compiler.compile_contract(compiler.source_of(name), compiler.SOURCE_FOLDER)
    committed = (ABI_FOLDER / f"{name}.json").read_text()
    assert compiler.render(artifact) == committed, "run python -m contracts.compile"
    for module in (module for module in MODULES if module.contract == name):
        text = render_events(module, artifact, event_comments(compiler.source_of(name).parent))
        assert text == module.path.read_text(), "run python -m contracts.compile"
    assert artifact["compiler"] == {
        "name": "vyper",
        "version": "0.4.3",
        "evm_version": "prague",
        "optimize": "gas",
    }


def test_the_contract_leaves_room_below_the_code_size_limit() -> None:
    document = json.loads((ABI_FOLDER / "federation.json").read_text())
    # Twelve immutable words follow the code.
    assert document["runtime_size_bytes"] + 12 * 32 < 20_500 < compiler.CODE_SIZE_LIMIT


def test_the_check_names_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiler, "ABI_FOLDER", tmp_path)
    monkeypatch.setattr(event_classes, "BINDING_FOLDER", tmp_path)
    monkeypatch.setattr(compiler, "CONTRACTS", ("referee",))
    artifact = compiler.compile_contract(compiler.source_of("referee"), compiler.SOURCE_FOLDER)
    monkeypatch.setattr(compiler, "compile_contract", lambda *_: artifact)  # once is enough
    assert compiler.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "contracts/abi/referee.json is not current" in said
    assert "contracts/binding/referee_events.py is not current" in said
    assert compiler.main([]) == 0
    assert compiler.main(["--check"]) == 0
    for name in ("referee.json", "referee_events.py"):
        (tmp_path / name).write_text("{}")
        assert compiler.main(["--check"]) == 1
        assert compiler.main([]) == 0


def test_only_the_named_contracts_are_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = []

    def committed(source: Path, _folder: Path) -> object:
        compiled.append(source.stem)
        return json.loads((ABI_FOLDER / f"{source.stem}.json").read_text())

    monkeypatch.setattr(compiler, "compile_contract", committed)
    assert compiler.main(["--check", "referee"]) == 0
    assert compiled == ["referee"]
    with pytest.raises(SystemExit) as ended:
        compiler.main(["--check", "referee", "refere"])
    assert ended.value.code == 2
    assert "refere: no such contract; expected one of federation," in capsys.readouterr().err


def artifact_of(**field: object) -> dict[str, object]:
    inputs = [{"name": "count", "type": "uint8", "indexed": False, **field}]
    return {"abi": [{"type": "event", "name": "Counted", "inputs": inputs}]}


def test_an_event_needs_a_comment_and_types_that_have_a_python_type() -> None:
    comments = {"Counted": ["Something was counted."]}
    text = event_classes.render_events(MODULES[0], artifact_of(), comments)
    assert '"""Something was counted."""\n\n    count: int\n' in text
    with pytest.raises(ConfigError, match="event Counted has no comment"):
        event_classes.render_events(MODULES[0], artifact_of(), {})
    with pytest.raises(ConfigError, match=r"event Counted: field count is uint8\[\], expected one"):
        event_classes.render_events(MODULES[0], artifact_of(type="uint8[]"), comments)


def test_a_contract_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "CODE_SIZE_LIMIT", 100)
    with pytest.raises(ConfigError, match=r"referee.vy: \d+ bytes of code, at most 100"):
        compiler.compile_contract(compiler.source_of("referee"), compiler.SOURCE_FOLDER)


def test_one_changed_byte_changes_the_source_digest(tmp_path: Path) -> None:
    first, second = tmp_path / "a.vy", tmp_path / "b.vy"
    first.write_text("x")
    second.write_text("y")
    before = compiler.source_sha256([first, second])
    assert compiler.source_sha256([second, first]) == before
    second.write_text("z")
    assert compiler.source_sha256([first, second]) != before


def test_every_external_function_says_who_what_and_when() -> None:
    documented = {}
    for path in SOURCES:
        for match in EXTERNAL.finditer(path.read_text()):
            documented[match["name"]] = " ".join(match["doc"].split())
    abi = {e["name"]: e for e in load_artifact("federation").abi if e["type"] == "function"}
    assert set(documented) == set(abi)
    for name, text in documented.items():
        assert "@notice" in text, name
        if abi[name]["stateMutability"] in ("nonpayable", "payable"):
            assert "@dev" in text, name
            assert "Reverts" in text, name
            assert "Emits" in text, name
        else:
            assert "ever reverts" in text or "Reverts" in text, name


def test_every_reason_a_function_documents_exists_and_the_other_way_round() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    raised = set(re.findall(r'assert [^"]*, "([^"]+)"', text))
    docs = "\n".join(
        match["doc"] for path in SOURCES for match in EXTERNAL.finditer(path.read_text())
    )
    documented = {reason for reason in re.findall(r'"([^"]+)"', docs) if ": " in reason}
    assert documented == {reason for reason in raised if not reason.startswith("terms: ")}
    assert all(len(reason) <= 32 for reason in raised)


def test_every_invariant_is_cited_by_a_test() -> None:
    invariants = (compiler.SOURCE_FOLDER.parent / "INVARIANTS.md").read_text()
    numbers = {int(number) for number in re.findall(r"^(\d+)\. ", invariants, re.MULTILINE)}
    assert numbers == set(range(1, 19))
    cited = set()
    for path in Path(__file__).parent.glob("test_federation_*.py"):
        for first, last in re.findall(r"[Ii]nvariants? (\d+)(?: to (\d+))?", path.read_text()):
            cited.update(range(int(first), int(last or first) + 1))
        cited.update(map(int, re.findall(r"[Ii]nvariants? [^\n]* and (\d+)", path.read_text())))
    assert numbers <= cited


def test_tuples_are_written_out() -> None:
    entry = {
        "type": "tuple[3]",
        "components": [{"type": "uint8"}, {"type": "tuple", "components": [{"type": "bool"}]}],
    }
    assert abi_type(entry) == "(uint8,(bool))[3]"
