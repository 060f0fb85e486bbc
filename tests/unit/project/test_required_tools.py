"""What a machine lacks skips a test, saying so; where it is required, the test fails instead."""

from collections.abc import Callable
from pathlib import Path

import anvil
import pytest
import real_data

ROOT = Path(__file__).parents[3]

Look = Callable[[], object]


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for module in (anvil, real_data):
        monkeypatch.delenv(module.REQUIRED, raising=False)
        monkeypatch.delenv(module.NAMED, raising=False)
    monkeypatch.setattr(anvil, "INSTALLED", tmp_path / "anvil")
    monkeypatch.setattr(real_data, "NEARBY", tmp_path / "data")
    return monkeypatch


@pytest.mark.parametrize(
    ("look", "required", "says"),
    [
        (anvil.anvil_binary, anvil.REQUIRED, "no anvil"),
        (real_data.real_data_folder, real_data.REQUIRED, "no real data"),
    ],
)
def test_what_is_missing_skips_or_fails(
    nothing_here: pytest.MonkeyPatch, look: Look, required: str, says: str
) -> None:
    with pytest.raises(pytest.skip.Exception, match=says):
        look()
    nothing_here.setenv(required, "1")
    with pytest.raises(pytest.fail.Exception, match=f"{required} is set, but .*{says}"):
        look()


def test_what_is_there_is_taken(nothing_here: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data" / "heart-disease").mkdir(parents=True)
    assert real_data.real_data_folder() == tmp_path / "data"
    (tmp_path / "anvil").touch(mode=0o755)
    assert anvil.anvil_binary() == str(tmp_path / "anvil")
    nothing_here.setenv(anvil.NAMED, str(tmp_path / "elsewhere"))
    with pytest.raises(pytest.fail.Exception, match="elsewhere: not an executable file"):
        anvil.anvil_binary()


def test_nobody_looks_for_them_elsewhere() -> None:
    """A look-up of its own would skip where the tool is required."""
    own = {Path(anvil.__file__), Path(real_data.__file__), Path(__file__)}
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        if path not in own:
            assert "node_modules" not in text, path
            assert "FEDPROOF_REQUIRE_ANVIL" not in text, path
            assert not ("FEDPROOF_DATA" in text and "skip" in text), path
