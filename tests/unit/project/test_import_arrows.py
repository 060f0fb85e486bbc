"""Imports point one way: a backward arrow in the package graph fails here, by name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# What each layer may import from the project, besides itself. Order: most specific first.
ALLOWED: dict[str, set[str]] = {
    "coordinator.core": set(),
    "coordinator.ports": {"coordinator.core"},
    "coordinator.service": {"coordinator.core", "coordinator.ports"},
    "coordinator.adapters": {
        "coordinator.core",
        "coordinator.settings",
        "coordinator.ports",
        "coordinator.service",
        "contracts",
    },
    "coordinator.settings": {"coordinator.core"},
    # What both daemons need of one machine: a private socket, child processes, logs.
    "coordinator.local": {"coordinator.core"},
    "coordinator.http": {
        "coordinator.core",
        "coordinator.ports",
        "coordinator.settings",
        "coordinator.adapters",
        "contracts",
    },
    "coordinator.daemon": {
        "coordinator.core",
        "coordinator.ports",
        "coordinator.service",
        "coordinator.settings",
        "coordinator.local",
        "coordinator.http",
        "coordinator.adapters",
        "coordinator.watch",
        "coordinator.answer",
        "contracts",
    },
    "coordinator.verify": {
        "coordinator.core",
        "coordinator.ports",
        "coordinator.settings",
        "coordinator.adapters",
        "contracts",
    },
    "coordinator.watch": {"coordinator.core", "coordinator.ports", "contracts"},
    "coordinator.answer": {
        "coordinator.core",
        "coordinator.ports",
        "coordinator.watch",
        "contracts",
    },
    "coordinator.cli": {"coordinator.core"},
    "coordinator.commands": {
        "coordinator",
        "coordinator.core",
        "coordinator.ports",
        "coordinator.adapters",
        "coordinator.verify",
        "coordinator.watch",
        "coordinator.cli",
        "coordinator.settings",
        "coordinator.local",
        "coordinator.daemon",
        "contracts",
    },
    "contracts": {"coordinator.core"},
    # Only the variables that silence flwr, which must be set before it is imported.
    "clients.cli": {"clients", "coordinator.cli", "coordinator.commands", "coordinator.core"},
    # The watcher's commands: whoever watches signs with an account of its own.
    "clients.commands": {
        "clients",
        "contracts",
        "coordinator.core",
        "coordinator.ports",
        "coordinator.adapters",
        "coordinator.watch",
        "coordinator.cli",
        "coordinator.commands",
        "coordinator.settings",
        "coordinator.local",
    },
    # The daemon reads the store over HTTP, and claims with the proofs it finds there.
    "clients.daemon": {
        "clients",
        "contracts",
        "coordinator.core",
        "coordinator.ports",
        "coordinator.adapters",
        "coordinator.settings",
        "coordinator.local",
    },
    # Founding makes what both sides start from: keys, certificates, contract, folders.
    "clients.founding": {
        "clients",
        "contracts",
        "coordinator.core",
        "coordinator.ports",
        "coordinator.service",
        "coordinator.adapters",
        "coordinator.settings",
        "coordinator.local",
    },
    "clients": {"coordinator.core", "coordinator.settings", "coordinator.local", "contracts"},
    "simulations": {"coordinator", "clients", "contracts"},
}
# Counting cores decides how many threads work, never what they compute.
COUNTS_CORES = ("coordinator.core.aggregation.parallel", "os")
CORE_LIBRARIES = {"numpy", "numba", "llvmlite", "sha3", "coincurve"}


def layer_of(module: str) -> str | None:
    candidates = [name for name in ALLOWED if module == name or module.startswith(name + ".")]
    return max(candidates, key=len, default=None)


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("coordinator", "clients", "contracts", "simulations"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_no_backward_arrow(module: str, path: Path) -> None:
    layer = layer_of(module)
    if layer is None:
        assert module == "coordinator", f"{module} belongs to no layer of the graph"
        return
    for name in imports_of(path):
        target = layer_of(name)
        if target is None or target == layer:
            continue
        allowed = ALLOWED[layer]
        assert target in allowed or any(target.startswith(f"{a}.") for a in allowed), (
            f"{module} imports {name}: {layer} may not import {target}"
        )


def test_the_core_is_pure() -> None:
    """Nothing under core touches files, sockets, processes, clocks or a foreign framework."""
    forbidden = {"os", "socket", "subprocess", "time", "datetime", "random", "secrets", "pathlib"}
    standard = __import__("sys").stdlib_module_names
    for module, path in modules():
        if not module.startswith("coordinator.core"):
            continue
        for name in imports_of(path):
            top = name.split(".")[0]
            assert top in standard or top == "coordinator" or top in CORE_LIBRARIES, (
                f"{module} imports {name}"
            )
            assert top not in forbidden or (module, top) == COUNTS_CORES, (
                f"{module} imports {name}: the core has no I/O or clock"
            )
