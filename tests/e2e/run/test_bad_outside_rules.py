"""Mistakes in rules and scores from outside the package: each refused in one line, before a round.

The line names the file, the key and what was expected; the status is 2.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fedproof_command import TINY, fedproof

from coordinator.stores.run_folder import RunFolder

MODULES = {
    "rules": """
import numpy as np
from fedproof import AggregationError, AggregationRule, Option, weighted_mean


def rule(aggregate, options=()):
    return AggregationRule(
        number=1, name="mine", aggregate=aggregate, fewest=lambda f: 1, bound="f = 0",
        options=options, withstands_byzantine=False,
    )


def mean(given):
    return weighted_mean(given.updates, given.weights)


def overwrite(given):
    given.updates[0][:] = 0
    return mean(given)


def refuse(given):
    raise AggregationError("too far apart")


GOOD = rule(mean)
CHOICE = rule(mean, (
    Option("keep", 2, least=1, most=5), Option("rate", 0.5, least=0.0),
    Option("mode", "fast", choices=("fast", "slow")), Option("strict", True),
))
CLASH = rule(mean, (Option("examples_cap", 1),))
SHORT = rule(lambda given: mean(given)[:-1])
MATRIX = rule(lambda given: mean(given)[None])
FLOATS = rule(lambda given: mean(given) / 2)
WIDE = rule(lambda given: mean(given).astype(np.int64))
LIST = rule(lambda given: mean(given).tolist())
NOTHING = rule(lambda given: None)
STRIDED = rule(lambda given: np.repeat(mean(given), 2)[::2])
DIVIDES = rule(lambda given: 1 // 0)
NO_ARGUMENT = rule(lambda: None)
ENDS = rule(lambda given: exit(0))
OVERWRITES = rule(overwrite)
REFUSES = rule(refuse)
NUMBER = 3
""",
    "scores": """
from fedproof import Option, ScoringRule


def score(function, **rest):
    return ScoringRule(name="mine", score=function, **rest)


def ones(given):
    return [1] * len(given.round.contributors)


GOOD = score(ones)
CAPPED = score(ones, options=(Option("cap", 10, least=1, most=20),))
EVALUATED = score(
    lambda given: [max(0, given.evaluate(u)) for u in given.round.updates], needs_evaluation=True
)
FLOATS = score(lambda given: [1.0 for _ in ones(given)])
FEW = score(lambda given: ones(given)[1:])
MANY = score(lambda given: [*ones(given), 1])
NEGATIVE = score(lambda given: [-1 for _ in ones(given)])
NOTHING = score(lambda given: None)
LAZY = score(lambda given: iter(ones(given)))
LARGE = score(lambda given: [1 << 64 for _ in ones(given)])
DIVIDES = score(lambda given: [1 // 0])
""",
    "raises": "\nraise ValueError('not\\ntoday')\n",
    "ends": "import sys\nsys.exit(0)\n",
    "unreadable": "def (\n",
    "imports_nothing": "import no_such_module_anywhere\n",
    "no_number": "from fedproof import AggregationRule\nX = AggregationRule(name='x')\n",
    "number_0": (
        "from fedproof import AggregationRule\n"
        "X = AggregationRule(number=0, name='x', aggregate=max, fewest=int, bound='')\n"
    ),
    "no_function": (
        "from fedproof import AggregationRule\n"
        "X = AggregationRule(number=1, name='x', aggregate=3, fewest=int, bound='')\n"
    ),
    "fewest_0": (
        "from fedproof import AggregationRule\n"
        "X = AggregationRule(number=1, name='x', aggregate=max, fewest=int, bound='')\n"
    ),
    "fewest_fails": (
        "from fedproof import AggregationRule\n"
        "fewest = lambda f: 1 // f\n"
        "X = AggregationRule(number=1, name='x', aggregate=max, fewest=fewest, bound='')\n"
    ),
    "option_kind": "from fedproof import Option\nX = Option('kind', 1)\n",
    "option_list": "from fedproof import Option\nX = Option('keep', [1])\n",
    "options_twice": (
        "from fedproof import Option, ScoringRule\n"
        "X = ScoringRule(name='x', score=max, options=(Option('a', 1), Option('a', 2)))\n"
    ),
    "option_text": (
        "from fedproof import ScoringRule\nX = ScoringRule(name='x', score=max, options=('a',))\n"
    ),
    "score_text": "from fedproof import ScoringRule\nX = ScoringRule(name='x', score='text')\n",
}
A_NAME = "expected the dotted name of a module, a colon, and a name in that module"


@pytest.fixture(autouse=True, scope="module")
def bad_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("modules")
    for name, text in MODULES.items():
        (folder / f"bad_{name}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


def config(folder: Path, section: str, keys: str) -> Path:
    text = TINY.replace('kind = "leave_one_out"\nevaluation_examples = 60\n', "")
    if f"[{section}]\n" not in text:
        text += f"\n[{section}]\n"
    file = folder / "mine.toml"
    file.write_text(text.replace("rounds = 4", "rounds = 1").replace(f"[{section}]\n", keys))
    return file


def simulate(folder: Path, section: str, keys: str):
    file = config(folder, section, f"[{section}]\n{keys}\n")
    return file, fedproof("simulate", file, "--out", folder / "run", "--workers", "1")


def refused(folder: Path, section: str, keys: str, *says: str) -> None:
    file, done = simulate(folder, section, keys)
    assert done.returncode == 2, (done.stdout, done.stderr)
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith(f"fedproof: error: {file}: ")
    for words in says:
        assert words in line
    assert "round   1" not in done.stdout
    assert not (folder / "run").exists()  # the mended file may name the same folder


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("bad_nowhere:X", "module bad_nowhere cannot be imported: No module named 'bad_nowhere'"),
        ("bad_imports_nothing:X", "cannot be imported: No module named 'no_such_module_anywhere'"),
        ("bad_unreadable:X", "module bad_unreadable cannot be imported: invalid syntax"),
        ("bad_raises:X", "cannot be imported: ValueError: not today (bad_raises.py, line 2)"),
        ("bad_ends:X", "cannot be imported: SystemExit: 0 (bad_ends.py, line 2)"),
        ("bad_no_number:X", "missing 4 required positional arguments"),
        ("bad_number_0:X", "aggregation rule x: number is 0, expected 1 to 65535"),
        ("bad_no_function:X", "aggregation rule x: aggregate is 3, expected a function"),
        ("bad_fewest_0:X", "aggregation rule x: fewest(0) is 0, expected an integer from 1"),
        ("bad_fewest_fails:X", "aggregation rule x: fewest(0) failed: ZeroDivisionError"),
        ("bad_option_kind:X", "option 'kind': expected an identifier other than kind"),
        ("bad_option_list:X", "option keep: default is [1], expected a bool, int, float or str"),
        ("bad_rules:GOD", 'module bad_rules has no "GOD"; did you mean "bad_rules:GOOD"?'),
        ("bad_rules:NUMBER", "found int, expected an object of type AggregationRule"),
        ("bad_rules:mean", "found function, expected an object of type AggregationRule"),
        ("bad_rules:AggregationRule", "found class AggregationRule, expected an object of type"),
        ("bad_scores:GOOD", "found ScoringRule, expected an object of type AggregationRule"),
        ("bad_rules:", A_NAME),
        (":GOOD", A_NAME),
        ("bad rules:GOOD", A_NAME),
        ("../bad_rules:GOOD", A_NAME),
    ],
)
def test_what_is_no_rule(tmp_path: Path, kind: str, says: str) -> None:
    place = f'aggregator.kind: aggregation rule "{kind}"'
    refused(tmp_path, "aggregator", f'kind = "{kind}"', place, says)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("bad_nowhere:X", "module bad_nowhere cannot be imported: No module named 'bad_nowhere'"),
        ("bad_rules:GOOD", "found AggregationRule, expected an object of type ScoringRule"),
        ("bad_options_twice:X", "score x: options are a, a, expected each once"),
        ("bad_option_text:X", "score x: options have a str, expected Options"),
        ("bad_score_text:X", "score x: score is 'text', expected a function"),
    ],
)
def test_what_is_no_score(tmp_path: Path, kind: str, says: str) -> None:
    refused(tmp_path, "scoring", f'kind = "{kind}"', says)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("keep = 0", "aggregator.keep = 0: expected at least 1"),
        ("keep = 6", "aggregator.keep = 6: expected at most 5"),
        ("keep = 1.5", "aggregator.keep = 1.5: expected an integer"),
        ("keep = true", "aggregator.keep = true: expected an integer"),
        ('keep = "2"', 'aggregator.keep = "2": expected an integer'),
        ("rate = -0.5", "aggregator.rate = -0.5: expected at least 0.0"),
        ("rate = nan", "aggregator.rate = nan: expected a finite number"),
        ('mode = "slowly"', 'aggregator.mode = "slowly": expected "fast" or "slow"'),
        ("strict = 1", "aggregator.strict = 1: expected true or false"),
        ("kep = 2", 'unknown key "aggregator.kep"; did you mean "keep"?'),
    ],
)
def test_options_of_a_rule(tmp_path: Path, keys: str, says: str) -> None:
    refused(tmp_path, "aggregator", f'kind = "bad_rules:CHOICE"\n{keys}', says)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("cap = 21", "scoring.cap = 21: expected at most 20"),
        ("cap = 1.0", "scoring.cap = 1.0: expected an integer"),
        ("capp = 1", 'unknown key "scoring.capp"; did you mean "cap"?'),
    ],
)
def test_options_of_a_score(tmp_path: Path, keys: str, says: str) -> None:
    refused(tmp_path, "scoring", f'kind = "bad_scores:CAPPED"\n{keys}', says)


def test_an_option_with_the_name_of_a_key_that_every_rule_has(tmp_path: Path) -> None:
    says = "aggregator.kind: bad_rules:CLASH: option examples_cap has the name of an attribute"
    refused(tmp_path, "aggregator", 'kind = "bad_rules:CLASH"', says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SHORT", "has 649 values, expected 650"),
        ("MATRIX", "has shape (1, 650), expected one dimension"),
        ("FLOATS", "has dtype <f8, expected native int32"),
        ("WIDE", "has dtype <i8, expected native int32"),
        ("LIST", "is a list, expected a numpy array"),
        ("NOTHING", "is a NoneType, expected a numpy array"),
        ("STRIDED", "is not contiguous"),
    ],
)
def test_a_rule_that_returns_something_else(tmp_path: Path, name: str, says: str) -> None:
    says = f"aggregator.kind: aggregate of rule bad_rules:{name} {says}"
    refused(tmp_path, "aggregator", f'kind = "bad_rules:{name}"', says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("DIVIDES", "ZeroDivisionError: "),
        ("NO_ARGUMENT", "TypeError: "),
        ("ENDS", "SystemExit: 0"),
        ("OVERWRITES", "ValueError: assignment destination is read-only"),
    ],
)
def test_a_rule_that_raises(tmp_path: Path, name: str, says: str) -> None:
    says = f"aggregator.kind: rule bad_rules:{name} failed: {says}"
    refused(tmp_path, "aggregator", f'kind = "bad_rules:{name}"', says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("FLOATS", "returned [1.0, 1.0, 1.0], expected a list of integers from 0 to 2^64 - 1"),
        ("NEGATIVE", "returned [-1, -1, -1], expected a list of integers from 0 to 2^64 - 1"),
        ("LARGE", "expected a list of integers from 0 to 2^64 - 1"),
        ("NOTHING", "returned None, expected a list of integers from 0 to 2^64 - 1"),
        ("LAZY", "expected a list of integers from 0 to 2^64 - 1"),
        ("FEW", "returned 2 scores for 3 contributors"),
        ("MANY", "returned 4 scores for 3 contributors"),
        ("DIVIDES", "failed: ZeroDivisionError: "),
    ],
)
def test_a_score_that_returns_something_else(tmp_path: Path, name: str, says: str) -> None:
    place = f"scoring.kind: score bad_scores:{name} "
    refused(tmp_path, "scoring", f'kind = "bad_scores:{name}"', place, says)


def test_a_run_goes_on_in_its_folder_once_the_rule_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "bad_then_good.py"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = MODULES["rules"]
    module.write_text(f"{text}\nMINE = FLOATS\n")
    refused(tmp_path, "aggregator", 'kind = "bad_then_good:MINE"', "expected native int32")
    module.write_text(f"{text}\nMINE = GOOD  # now\n")
    _, done = simulate(tmp_path, "aggregator", 'kind = "bad_then_good:MINE"')
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "run", read_only=True).is_complete


def test_a_rule_that_refuses_voids_its_rounds_and_says_why(tmp_path: Path) -> None:
    """The trial takes a refusal for an answer: only the rule knows what it may refuse."""
    _, done = simulate(tmp_path, "aggregator", 'kind = "bad_rules:REFUSES"')
    assert done.returncode == 0, done.stderr
    assert "round 1 is void: too far apart" in done.stderr


def test_the_same_modules_have_some_that_run(tmp_path: Path) -> None:
    """Else the tests above might be refused for another reason."""
    file = config(tmp_path, "scoring", '[scoring]\nkind = "bad_scores:EVALUATED"\n')
    file.write_text(file.read_text() + '\n[aggregator]\nkind = "bad_rules:CHOICE"\nkeep = 5\n')
    done = fedproof("simulate", file, "--out", tmp_path / "run", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "is void" not in done.stderr
