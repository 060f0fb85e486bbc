"""Imports point one way: a backward arrow in the package graph fails here, by name."""

from pathlib import Path

import pytest

from benchmarks.architecture import import_graph, imported_names, module_files

# What each layer may import from the project, besides itself.
_LAYERS = (
    "coordinator.shared_names",
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
_OFF_CHAIN = (
    "coordinator.shared_names",
    "coordinator.protocol",
    "coordinator.ports",
    "coordinator.local",
)
ALLOWED: dict[str, set[str]] = {
    **{
        layer: {*_LAYERS[:place], *(() if layer in _OFF_CHAIN else ("contracts",))}
        for place, layer in enumerate(_LAYERS)
    },
    "coordinator.commands": {"coordinator", *_LAYERS[:-1], "contracts"},
    "contracts": {"coordinator.protocol", "coordinator.shared_names"},
    "clients": {"coordinator", *_LAYERS, "contracts"},
    "simulations": {"coordinator", "clients", "contracts"},
}
# Within a top-level package: lowest first, each may import what stands before it.
ORDERS: dict[str, tuple[str, ...]] = {
    "clients": ("data", "training", "mod", "daemon", "commands"),
    "contracts": ("json_bounds", "blocks", "binding", "node", "event_classes", "compile"),
    "simulations": (
        "errors",
        "seeds",
        "data",
        "partitions",
        "metrics",
        "attacks",
        "experiment",
        "engines",
        "report",
        "run",
        "hospitals",
        "commands",
        "flower_app",
        "cli",
        "__main__",
    ),
}
# Limits that may fall and not rise (ADR 0130).
LONGEST_CHAIN = 12
MOST_IMPORTS = 20
# Counting cores decides how many threads work, never what they compute.
COUNTS_CORES = ("coordinator.protocol.parallel", "os")
CORE_LIBRARIES = {"numpy", "numba", "llvmlite", "sha3", "coincurve"}


def layer_of(module: str) -> str | None:
    candidates = [name for name in ALLOWED if module == name or module.startswith(name + ".")]
    return max(candidates, key=len, default=None)


def modules() -> list[tuple[str, Path]]:
    return sorted(module_files().items())


@pytest.mark.parametrize(
    ("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_no_backward_arrow(module: str, path: Path) -> None:
    layer = layer_of(module)
    if layer is None:
        assert module == "coordinator", f"{module} belongs to no layer of the graph"
        return
    for name in imported_names(path):
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
            assert not [name for name in imported_names(path) if name.startswith(other)], module


def test_the_core_is_pure() -> None:
    """Nothing under core touches files, sockets, processes, clocks or a foreign framework."""
    forbidden = {"os", "socket", "subprocess", "time", "datetime", "random", "secrets", "pathlib"}
    standard = __import__("sys").stdlib_module_names
    for module, path in modules():
        if not module.startswith("coordinator.protocol"):
            continue
        for name in imported_names(path):
            top = name.split(".")[0]
            assert top in standard or top == "coordinator" or top in CORE_LIBRARIES, (
                f"{module} imports {name}"
            )
            assert top not in forbidden or (module, top) == COUNTS_CORES, (
                f"{module} imports {name}: the core has no I/O or clock"
            )


GRAPH = import_graph()


def part_of(module: str) -> tuple[str, str]:
    top, _, rest = module.partition(".")
    return top, rest.partition(".")[0]


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_no_backward_arrow_inside_a_package(module: str) -> None:
    top, part = part_of(module)
    order = ORDERS.get(top)
    if order is None or not part:
        return
    assert part in order, f"{module} has no place in the order of {top}"
    for name in GRAPH[module]:
        other_top, other = part_of(name)
        if other_top == top and other:
            assert order.index(other) <= order.index(part), f"{module} imports {name}"


def test_imports_have_no_cycle_and_no_long_chain() -> None:
    lengths: dict[str, int] = {}

    def length(module: str, above: tuple[str, ...]) -> int:
        assert module not in above, f"cycle: {' > '.join([*above, module])}"
        if module not in lengths:
            below = (length(name, (*above, module)) for name in GRAPH[module])
            lengths[module] = 1 + max(below, default=0)
        return lengths[module]

    longest = max(GRAPH, key=lambda module: length(module, ()))
    assert lengths[longest] <= LONGEST_CHAIN, f"{longest} stands {lengths[longest]} files high"


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_no_file_imports_many_others(module: str) -> None:
    assert len(GRAPH[module]) <= MOST_IMPORTS, sorted(GRAPH[module])
