"""Imports point one way: a backward arrow in the package graph fails here, by name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# What each layer may import from the project, besides itself.
_LAYERS = (
    "coordinator.protocol",
    "coordinator.ports",
    "coordinator.local",
    "coordinator.settings",
    "coordinator.models",
    "coordinator.stores",
    "coordinator.service",
    "coordinator.ledger",
    "coordinator.http",
    "coordinator.flower",
    "coordinator.audit",
    "coordinator.founding",
    "coordinator.daemon",
    "coordinator.commands",
)
"""Lowest first: each imports only what stands before it."""
# ``contracts`` stands above the protocol, and below whatever reaches a chain.
_OFF_CHAIN = ("coordinator.protocol", "coordinator.ports", "coordinator.local")
ALLOWED: dict[str, set[str]] = {
    **{
        layer: {*_LAYERS[:place], *(() if layer in _OFF_CHAIN else ("contracts",))}
        for place, layer in enumerate(_LAYERS)
    },
    "coordinator.commands": {"coordinator", *_LAYERS[:-1], "contracts"},
    "contracts": {"coordinator.protocol"},
    "clients": {"coordinator", *_LAYERS, "contracts"},
    "simulations": {"coordinator", "clients", "contracts"},
}
# Counting cores decides how many threads work, never what they compute.
COUNTS_CORES = ("coordinator.protocol.parallel", "os")
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


@pytest.mark.parametrize(
    ("package", "other"),
    [
        ("contracts.binding", "contracts.node"),
        ("contracts.node", "contracts.binding"),
    ],
)
def test_binding_and_node_do_not_import_each_other(package: str, other: str) -> None:
    """What both need stands below them, in ``contracts.blocks`` and ``contracts.json_bounds``."""
    for module, path in modules():
        if module.startswith(package):
            assert not [name for name in imports_of(path) if name.startswith(other)], module


def test_the_core_is_pure() -> None:
    """Nothing under core touches files, sockets, processes, clocks or a foreign framework."""
    forbidden = {"os", "socket", "subprocess", "time", "datetime", "random", "secrets", "pathlib"}
    standard = __import__("sys").stdlib_module_names
    for module, path in modules():
        if not module.startswith("coordinator.protocol"):
            continue
        for name in imports_of(path):
            top = name.split(".")[0]
            assert top in standard or top == "coordinator" or top in CORE_LIBRARIES, (
                f"{module} imports {name}"
            )
            assert top not in forbidden or (module, top) == COUNTS_CORES, (
                f"{module} imports {name}: the core has no I/O or clock"
            )
