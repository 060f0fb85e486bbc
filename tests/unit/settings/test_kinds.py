"""Sections by kind from a registry: which model reads a table, and what is said of a wrong one."""

import sys
from typing import Annotated, Any

import pytest
from pydantic import Field

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import Registry
from coordinator.settings.base import Section
from coordinator.settings.kinds import ByKind, kind_of
from coordinator.settings.load import options_by_kind, options_of_kind, validated


class Shape(Section):
    kind: str
    sides: int = Field(default=1, ge=1)


SHAPES = Registry.of_classes("shapes", Shape, what="shape", name_of=kind_of)
AnyShape = Annotated[Shape, ByKind(SHAPES, default="square")]


class Drawing(Section):
    shape: AnyShape = Shape(kind="none")
    others: list[Annotated[Shape, ByKind(SHAPES)]] = Field(default=[])


FILES = {
    "shapes/__init__.py": "",
    "shapes/square.py": (
        "from typing import Literal\n"
        f"from {__name__} import Shape\n"
        "class Square(Shape):\n"
        "    kind: Literal['square'] = 'square'\n"
        "    edge: float = 1.0\n"
    ),
    "shapes/circle.py": (
        "from typing import Literal\n"
        f"from {__name__} import Shape\n"
        "class Circle(Shape):\n"
        "    kind: Literal['circle'] = 'circle'\n"
        "    radius: float\n"
    ),
    "mine.py": f"from {__name__} import Shape\nclass Star(Shape):\n    points: int = 5\n",
}


@pytest.fixture(autouse=True, scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("shapes")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def drawing(**raw: Any) -> Drawing:
    return validated(Drawing, raw, "drawing.toml")


def refusal(**raw: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        drawing(**raw)
    return str(caught.value).removeprefix("drawing.toml: ")


def test_the_kind_chooses_the_model_and_the_default_stands_in_for_none() -> None:
    found = drawing(shape={"edge": 2.0}, others=[{"kind": "circle", "radius": 3.0}])
    assert found.model_dump(mode="json") == {
        "shape": {"kind": "square", "sides": 1, "edge": 2.0},
        "others": [{"kind": "circle", "sides": 1, "radius": 3.0}],
    }
    assert drawing(shape=found.shape).shape == found.shape


def test_a_model_from_outside_keeps_the_kind_it_was_named_by() -> None:
    found = drawing(shape={"kind": "mine:Star", "points": 6})
    dumped = found.model_dump(mode="json")
    assert dumped["shape"] == {"kind": "mine:Star", "sides": 1, "points": 6}
    assert validated(Drawing, dumped, "again") == found


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"shape": {"kind": "squere"}},
            'shape.kind = "squere": expected "circle" or "square", or "module:NAME" for one of '
            'your own; did you mean "square"?',
        ),
        ({"shape": 3}, "shape = 3: expected a table"),
        ({"others": [{}]}, 'key "others.0.kind" is missing'),
        (
            {"others": [{"kind": "circle"}]},
            'key "others.0.radius" is missing; others.kind = "circle" needs it',
        ),
        (
            {"shape": {"radius": 1.0}},
            'unknown key "shape.radius"; it belongs to shape.kind = "circle", not "square"',
        ),
        ({"shape": {"sides": 0}}, "shape.sides = 0: expected at least 1"),
        (
            {"shape": {"kind": "mine:Star", "pionts": 6}},
            'unknown key "shape.pionts"; did you mean "points"?',
        ),
        (
            {"shape": {"kind": "mine:Star", "edge": 6.0}},
            'unknown key "shape.edge"; it belongs to shape.kind = "square", not "mine:Star"',
        ),
        (
            {"shape": {"kind": "mine:Stor"}},
            'shape.kind: shape "mine:Stor": module mine has no "Stor"; did you mean "mine:Star"?',
        ),
        (
            {"others": [{"kind": "nowhere_at_all:X"}]},
            'others.0.kind: shape "nowhere_at_all:X": module nowhere_at_all cannot be imported: '
            "No module named 'nowhere_at_all'"
            "; its folder has to be on the import path (PYTHONPATH=FOLDER)",
        ),
    ],
)
def test_a_wrong_table_is_told_in_one_line(raw: dict[str, Any], message: str) -> None:
    assert refusal(**raw) == message


def test_the_options_of_each_kind_are_known() -> None:
    assert options_by_kind("shape", Drawing) == {
        "circle": {"kind", "sides", "radius"},
        "square": {"kind", "sides", "edge"},
    }
    assert options_of_kind("others", "mine:Star", Drawing) == {"kind", "sides", "points"}
    assert options_of_kind("others", "mine:None", Drawing) is None
