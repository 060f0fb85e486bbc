"""Draws the imports between packages, and the path of an update: docs/img/architecture.svg.

``python -m benchmarks.architecture`` (``make picture``) reads every import statement of the four
packages and the numbered steps of docs/architecture.md. Boxes are above those that they import; an
arrow that follows from two others is omitted; the numbers in a box are the steps that it does. The
layout is the usual one for layered graphs: a node's layer is its longest path, long edges get a
point in every layer that they pass, and layers are ordered by the mean position of neighbours
(Sugiyama, Tagawa and Toda 1981).
"""

import ast
import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "img" / "architecture.svg"
PACKAGES = ("coordinator", "clients", "contracts", "simulations")

# A module is in the box with the longest matching prefix of its name.
BOXES = (
    *(
        f"coordinator.{name}"
        for name in (
            *("protocol", "ports", "local", "settings", "models", "stores", "service", "ledger"),
            *("http", "flower", "audit", "founding", "daemon", "commands"),
        )
    ),
    *(f"clients.{name}" for name in ("data", "training", "mod", "daemon", "commands")),
    *("contracts.binding", "contracts.node", "contracts.src"),
    *(
        f"simulations.{name}"
        for name in (
            *("data", "metrics", "partitions", "attacks"),
            *("experiment", "engines", "report", "run"),
        )
    ),
    *("simulations.hospitals", "simulations.commands"),
)
_COLOURS = {
    "coordinator": "#dbe7f5",
    "clients": "#dcefdc",
    "contracts": "#f6e6c9",
    "simulations": "#ecdff2",
}
_WIDTH, _HEIGHT, _ROW, _GAP, _MARGIN = 164, 44, 96, 26, 24
_BADGE = 9


def module_files() -> dict[str, Path]:
    """Return every module of the project and its file; a package by its own name."""
    files = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(part for part in parts if part != "__init__")] = path
    return files


def imported_names(path: Path) -> set[str]:
    """Return the names that a file imports: ``from a import b`` gives ``a`` and ``a.b``.

    Raises
    ------
    ValueError
        If it has a relative import.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level != 0:
                raise ValueError(f"{path}: relative import in line {node.lineno}")
            names.add(str(node.module))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def import_graph() -> dict[str, set[str]]:
    """Return each module with the project's modules that it imports.

    An import of a name is an import of its module; of a package, only of the package's own file.
    """
    files = module_files()
    graph = {}
    for module, path in files.items():
        names = {name for name in imported_names(path) if name in files} - {module}
        graph[module] = {
            name for name in names if not any(other.startswith(f"{name}.") for other in names)
        }
    return graph


def box_of(name: str) -> str | None:
    """Return the box of a module's dotted name or of a path with slashes."""
    dotted = name.removesuffix("/").removesuffix(".py").replace("/", ".")
    matching = [box for box in BOXES if dotted == box or dotted.startswith(f"{box}.")]
    return max(matching, key=len, default=None)


def arrows() -> dict[str, set[str]]:
    """Return each box with the boxes it imports, without arrows that follow from two others."""
    direct: dict[str, set[str]] = {box: set() for box in BOXES}
    for module, names in import_graph().items():
        box = box_of(module)
        if box is not None:
            direct[box] |= {other for name in names if (other := box_of(name)) not in (None, box)}
    direct["contracts.binding"].add("contracts.src")  # compiled: contracts/abi, not an import
    below = {box: _reachable(direct, box) for box in BOXES}
    return {
        box: {
            name
            for name in names
            if not any(name in below[other] for other in names if other != name)
        }
        for box, names in direct.items()
    }


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name == start:
            raise ValueError(f"{start} imports itself, by {sorted(seen)}")
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def steps() -> dict[str, list[int]]:
    """Return each box with the numbers of the page's steps whose files are in it.

    Raises
    ------
    ValueError
        If the page names a file of a package that does not exist, or has no steps.
    """
    text = PAGE.read_text()
    parts = re.split(r"^(\d+)\. (?=\*\*)", text, flags=re.M)
    if len(parts) < 3:
        raise ValueError(f"{PAGE}: no numbered steps")
    places: dict[str, list[int]] = defaultdict(list)
    for number, body in zip(parts[1::2], parts[2::2], strict=True):
        for quoted in re.findall(r"`([\w/.]+)`", body.split("\n\n")[0]):
            path = f"coordinator/{quoted}" if (ROOT / "coordinator" / quoted).exists() else quoted
            if "/" not in path or path.split("/")[0] not in (*PACKAGES, "protocol", "service"):
                continue
            if not (ROOT / path).exists():
                raise ValueError(f"{PAGE}: step {number} names {quoted}, which does not exist")
            box = box_of(path)
            if box is not None and int(number) not in places[box]:
                places[box].append(int(number))
    return dict(places)


def _layers(graph: Mapping[str, set[str]]) -> dict[str, int]:
    heights: dict[str, int] = {}

    def height(box: str) -> int:
        if box not in heights:
            heights[box] = 1 + max((height(name) for name in graph[box]), default=-1)
        return heights[box]

    for box in graph:
        height(box)
    return heights


def _rows(graph: Mapping[str, set[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the boxes and bending points of each layer, lowest first, and each arrow's path."""
    layer = _layers(graph)
    rows: list[list[str]] = [[] for _ in range(1 + max(layer.values()))]
    for box in BOXES:
        rows[layer[box]].append(box)
    paths = []
    for box in BOXES:
        for name in sorted(graph[box]):
            path = [box]
            for between in range(layer[box] - 1, layer[name], -1):
                path.append(f"{box} {name} {between}")
                rows[between].append(path[-1])
            paths.append([*path, name])
    neighbours: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for upper, lower in itertools.pairwise(path):
            neighbours[upper].add(lower)
            neighbours[lower].add(upper)
    for sweep in range(24):
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for index in order:
            fixed = rows[index - 1 if sweep % 2 == 0 else index + 1]
            place = {node: (i + 0.5) / len(fixed) for i, node in enumerate(fixed)}
            own = {node: (i + 0.5) / len(rows[index]) for i, node in enumerate(rows[index])}

            def middle(
                node: str, place: dict[str, float] = place, own: dict[str, float] = own
            ) -> float:
                positions = [place[other] for other in neighbours[node] if other in place]
                return sum(positions) / len(positions) if positions else own[node]

            rows[index].sort(key=middle)
    return rows, paths


def _positions(rows: Sequence[Sequence[str]]) -> tuple[dict[str, tuple[float, float]], float]:
    def width(node: str) -> float:
        return _GAP if " " in node else _WIDTH

    widths = [sum(width(node) for node in row) + _GAP * (len(row) - 1) for row in rows]
    total = max(widths) + 2 * _MARGIN
    positions = {}
    for index, row in enumerate(rows):
        spare = (total - 2 * _MARGIN - widths[index]) / (len(row) + 1)
        x = _MARGIN + spare
        for node in row:
            positions[node] = (
                x + width(node) / 2,
                _MARGIN + (len(rows) - 1 - index) * _ROW + _HEIGHT / 2,
            )
            x += width(node) + _GAP + spare
    return positions, total


def drawing() -> str:
    """Return the picture as SVG text; deterministic."""
    graph = arrows()
    rows, paths = _rows(graph)
    positions, width = _positions(rows)
    badges = steps()
    height = 2 * _MARGIN + (len(rows) - 1) * _ROW + _HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f"<title>{escape('Packages: each stands on those that it imports')}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#8a8a8a"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>',
    ]
    for path in paths:
        points = [positions[node] for node in path]
        (x, y), (end_x, end_y) = points[0], points[-1]
        route = [(x, y + _HEIGHT / 2), *points[1:-1], (end_x, end_y - _HEIGHT / 2 - 1)]
        curve = f"M{route[0][0]:.0f} {route[0][1]:.0f}"
        for (from_x, from_y), (to_x, to_y) in itertools.pairwise(route):
            bend = (from_y + to_y) / 2
            curve += f"C{from_x:.0f} {bend:.0f} {to_x:.0f} {bend:.0f} {to_x:.0f} {to_y:.0f}"
        lines.append(
            f'<path d="{curve}" fill="none" stroke="#8a8a8a" stroke-width="1.1" '
            'marker-end="url(#tip)"/>'
        )
    for box in BOXES:
        x, y = positions[box]
        left, top = x - _WIDTH / 2, y - _HEIGHT / 2
        colour = _COLOURS[box.partition(".")[0]]
        lines.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
            f'fill="{colour}" stroke="#5a5a5a"/>'
        )
        numbers = sorted(badges.get(box, []))
        drop = 0 if numbers else 5
        lines.append(
            f'<text x="{x:.0f}" y="{y - 4 + drop:.0f}" text-anchor="middle">'
            f"{escape(box.replace('.', '/'))}</text>"
        )
        for place, number in enumerate(numbers):
            centre = x + (place - (len(numbers) - 1) / 2) * (2 * _BADGE + 3)
            lines.append(
                f'<circle cx="{centre:.0f}" cy="{y + 11:.0f}" r="{_BADGE}" fill="#333333"/>'
                f'<text x="{centre:.0f}" y="{y + 15:.0f}" text-anchor="middle" fill="#ffffff" '
                f'font-size="11">{number}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(drawing())
    print(f"wrote {PICTURE.relative_to(ROOT)}")
