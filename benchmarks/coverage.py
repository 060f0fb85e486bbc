"""Coverage of the contracts by the tests: ``make coverage`` writes ``docs/coverage.md``.

With ``FEDPROOF_COVERAGE=FOLDER`` the tests write there the pairs of successive instructions that
they ran of each contract (``tests/support/evm_trace.py``). These are compared with Vyper's source
map: a line is covered if an instruction of it ran, a branch if a conditional jump went both ways.
Conditional jumps without a source statement are the compiler's checks (overflow, bounds, calldata);
they are counted separately, by kind of check. Needs the ``dev`` extra.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contracts.binding.artifacts import CONTRACTS
from contracts.compile import EVM_VERSION, OPTIMIZE, SOURCE_FOLDER, source_of
from coordinator.protocol.errors import ConfigError

JUMPI, PUSH0, PUSH1, PUSH32 = 0x57, 0x5F, 0x60, 0x7F
STATEMENTS: Final = ("Assert", "If", "IfExp", "BoolOp", "For")
"""Syntax nodes whose conditional jumps are branches of the source."""
DISPATCH: Final = "dispatch and copying"
"""Jumps that select a function, or copy words in a loop."""
MARK: Final = "<!-- python -m benchmarks.coverage writes from here -->"
END: Final = "<!-- to here -->"

Edges = dict[int, set[int]]
"""Instructions that ran next, by instruction."""
Place = tuple[str, int]
"""File and line."""


@dataclass(frozen=True)
class Jump:
    """A conditional jump of one contract.

    ``node`` identifies its syntax node, the same in every contract that shares a module; ``check``
    names the compiler's check, empty for a branch of the source.
    """

    pc: int
    place: Place | None
    node: tuple[Any, ...]
    check: str


@dataclass(frozen=True)
class Code:
    """Compiled code, with the source line of each instruction."""

    contract: str
    code: bytes
    lines: dict[int, Place]
    jumps: list[Jump]


@dataclass
class Coverage:
    """Coverage of all contracts; of a jump, the ways it went, ``True`` for taken."""

    lines: dict[Place, bool] = field(default_factory=dict)
    branches: dict[tuple[Any, ...], set[bool]] = field(default_factory=lambda: defaultdict(set))
    checks: dict[tuple[Any, ...], set[bool]] = field(default_factory=lambda: defaultdict(set))

    def add(self, code: Code, edges: Edges) -> None:
        """Add the instructions that ran of one code."""
        ran = {pc for after in edges.values() for pc in after}
        for pc, place in code.lines.items():
            self.lines[place] = self.lines.get(place, False) or pc in ran
        for jump in code.jumps:
            went = {after != jump.pc + 1 for after in edges.get(jump.pc, ())}
            (self.checks if jump.check else self.branches)[jump.node] |= went


# --- reading the source map ----------------------------------------------------------------------


def instructions(code: bytes) -> Iterator[tuple[int, int]]:
    """Yield position and opcode of each instruction."""
    pc = 0
    while pc < len(code):
        yield pc, code[pc]
        pc += 1 + (code[pc] - PUSH0 if PUSH1 <= code[pc] <= PUSH32 else 0)


def compiled(contract: str) -> list[Code]:
    """Return a contract's creation and its deployed code.

    Raises
    ------
    ConfigError
        If Vyper is not installed.
    """
    try:
        from vyper.compiler.input_bundle import FilesystemInputBundle
        from vyper.compiler.phases import CompilerData
        from vyper.compiler.settings import OptimizationLevel, Settings, anchor_settings
        from vyper.ir.compile_ir import assembly_to_evm
    except ImportError as missing:
        raise ConfigError("vyper is not installed: install the project's dev extra") from missing
    bundle = FilesystemInputBundle([SOURCE_FOLDER])
    data = CompilerData(
        bundle.load_file(source_of(contract).relative_to(SOURCE_FOLDER)),
        input_bundle=bundle,
        settings=Settings(
            evm_version=EVM_VERSION, optimize=OptimizationLevel.from_string(OPTIMIZE)
        ),
        no_bytecode_metadata=True,
    )
    with anchor_settings(data.settings):
        parts = [data.assembly, data.assembly_runtime]
        assembled = [assembly_to_evm(part, compiler_metadata=None) for part in parts]
    (creation, creation_map), (runtime, runtime_map) = assembled
    # The creation code contains the deployed code, whose instructions are counted only once.
    end = creation.index(runtime)
    return [_code(contract, creation, creation_map, end), _code(contract, runtime, runtime_map)]


def _code(contract: str, code: bytes, maps: dict[str, Any], end: int | None = None) -> Code:
    nodes = {pc: node for pc, node in maps["pc_raw_ast_map"].items() if node is not None}
    lines: dict[int, Place] = {}
    jumps: list[Jump] = []
    seen: dict[tuple[Any, ...], int] = defaultdict(int)
    place: Place | None = None
    for pc, opcode in instructions(code[:end]):
        node = nodes.get(pc)
        if node is not None and _has_line(node):
            place = lines[pc] = (_file(node), node.lineno)
        if opcode == JUMPI:
            jump = _jump(pc, node, place, maps["error_map"].get(pc))
            # One node may have several: the operands of a condition.
            seen[jump.node] += 1
            jumps.append(Jump(pc, place, (*jump.node, seen[jump.node]), jump.check))
    return Code(contract, code, lines, jumps)


def _has_line(node: Any) -> bool:
    """Whether a node is a line; nodes of whole functions and modules are not."""
    return type(node).__name__ not in ("FunctionDef", "Module")


def _file(node: Any) -> str:
    return Path(str(node.module_node.path)).name


def _jump(pc: int, node: Any, place: Place | None, error: str | None) -> Jump:
    kind = type(node).__name__
    if kind in STATEMENTS and error in (None, "user assert", "user revert with reason"):
        key = (_file(node), node.lineno, node.col_offset, kind, node.node_id)
        return Jump(pc, place, key, "")
    check = error or DISPATCH
    return Jump(pc, place, (check, *(place or ("", 0))), check)


# --- reading the traces --------------------------------------------------------------------------


def read_traces(folder: Path) -> dict[bytes, Edges]:
    """Return the edges of each code, from the traces of all test processes.

    Raises
    ------
    ConfigError
        If there are no traces.
    """
    merged: dict[bytes, Edges] = defaultdict(lambda: defaultdict(set))
    for path in sorted(folder.glob("*.json")):
        for code, pairs in json.loads(path.read_text()).items():
            for before, after in pairs:
                merged[bytes.fromhex(code)][before].add(after)
    if not merged:
        raise ConfigError(f"{folder}: no traces; run the tests with FEDPROOF_COVERAGE={folder}")
    return merged


def measure(folder: Path) -> Coverage:
    """Return the coverage of all contracts by the traces in a folder."""
    traces, coverage = read_traces(folder), Coverage()
    for contract in CONTRACTS:
        for code in compiled(contract):
            # Arguments follow the creation code, immutables the deployed code.
            edges: Edges = defaultdict(set)
            for ran, pairs in traces.items():
                if ran.startswith(code.code):
                    for before, after in pairs.items():
                        edges[before] |= after
            coverage.add(code, edges)
    return coverage


# --- the report ----------------------------------------------------------------------------------


def _percent(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def files_table(coverage: Coverage) -> list[str]:
    """Return a row per source file: lines run, branches that went both ways."""
    files = sorted({name for name, _ in coverage.lines})
    rows = ["| file | lines run | branches taken both ways |", "|---|---:|---:|"]
    totals = [0, 0, 0, 0]
    for name in files:
        lines = [ran for (file, _), ran in coverage.lines.items() if file == name]
        ways = [went for key, went in coverage.branches.items() if key[0] == name]
        numbers = [sum(lines), len(lines), sum(len(went) == 2 for went in ways), len(ways)]
        totals = [a + b for a, b in zip(totals, numbers, strict=True)]
        rows.append(f"| `{name}` | {_percent(*numbers[:2])} | {_percent(*numbers[2:])} |")
    rows.append(f"| all | {_percent(*totals[:2])} | {_percent(*totals[2:])} |")
    return rows


def missing(coverage: Coverage) -> list[str]:
    """Return a text for each line that did not run and each branch that went one way only."""
    lines = coverage.lines.items()
    rows = [f"`{file}:{line}` did not run" for (file, line), ran in lines if not ran]
    for (file, line, _, kind, _, number), went in coverage.branches.items():
        if len(went) < 2:
            way = "never reached" if not went else "one way only"
            rows.append(f"`{file}:{line}` {kind}, jump {number}: {way}")
    return sorted(rows)


def checks_table(coverage: Coverage, *, places: bool = False) -> list[str]:
    """Return a row per kind of compiler check; with ``places``, those that never failed."""
    kinds: dict[str, list[tuple[tuple[Any, ...], set[bool]]]] = defaultdict(list)
    for key, went in coverage.checks.items():
        kinds[key[0]].append((key, went))
    rows = ["| check of the compiler's | made | failed in a test |", "|---|---:|---:|"]
    for kind in sorted(kinds):
        failed = sum(len(went) == 2 for _, went in kinds[kind])
        rows.append(f"| {kind} | {len(kinds[kind])} | {failed} |")
        if places:
            never_failed = {f"{key[1]}:{key[2]}" for key, went in kinds[kind] if len(went) < 2}
            rows[-1] += f" {', '.join(sorted(never_failed))} |"
    return rows


def report(coverage: Coverage, *, places: bool = False) -> str:
    """Return the tables, and a list of the missing lines and branches."""
    gaps = missing(coverage) or ["Nothing: every line ran and every branch went both ways."]
    parts = [
        files_table(coverage),
        ["Missing:", "", *(f"- {gap}" for gap in gaps)],
        checks_table(coverage, places=places),
    ]
    return "\n\n".join("\n".join(rows) for rows in parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report, and write it between a document's marks; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("traces", type=Path, help="the folder named in FEDPROOF_COVERAGE")
    parser.add_argument("--write", type=Path, help="the document to update")
    parser.add_argument("--places", action="store_true", help="list the checks that never failed")
    options = parser.parse_args(arguments)
    coverage = measure(options.traces)
    text = report(coverage)
    print(report(coverage, places=options.places))
    if options.write:
        document = options.write.read_text()
        before, _, rest = document.partition(MARK)
        _, _, after = rest.partition(END)
        options.write.write_text(f"{before}{MARK}\n\n{text}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
