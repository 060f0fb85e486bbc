"""Writes a run's report: ``report.md`` and the plots beside it.

Everything in it is read from the run folder, so a report can be made again at any time
(``fedproof report RUN``). The checksums of the run do not cover plots and report.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator.protocol.amounts import ether
from coordinator.stores.run_folder import RunFolder
from simulations.report.coordinator import COORDINATOR, coordinator_lines
from simulations.report.figures import draw_accuracy, draw_metrics, draw_money
from simulations.report.records import (
    ContributorRecord,
    RoundRecord,
    metric_names,
    read_contributors,
    read_rounds,
)


def write_report(folder: RunFolder, out: Path | None = None) -> Path:
    """Draw the plots and write the report into ``out`` (default: the run folder).

    Returns
    -------
    Path of ``report.md``.

    Raises
    ------
    ConfigError
        If the folder does not hold a finished run.
    StoreError
        If a file of it cannot be read, or the report cannot be written.
    """
    target = out or folder.root
    config = folder.read_json(folder.config)
    rounds = read_rounds(folder.root / "metrics.jsonl")
    people = read_contributors(folder.root / "contributors.json")
    name = str(config.get("name", folder.root.name))
    draw_accuracy(rounds, f"{name}: accuracy", target / "plots" / "accuracy.png")
    if metric_names(rounds):
        draw_metrics(rounds, f"{name}: metrics", target / "plots" / "metrics.png")
    record = folder.read_json(folder.root / COORDINATOR)
    money = target / "plots" / "stakes_rewards.png"
    draw_money(people, record, f"{name}: stakes and rewards", money)
    coordinator = coordinator_lines(record)
    federation = folder.read_json(folder.federation)
    text = "\n".join(_lines(config, federation, rounds, people, coordinator)) + "\n"
    path = target / "report.md"
    folder.write(path, text.encode())
    return path


def _lines(
    config: dict[str, Any],
    federation: dict[str, Any],
    rounds: Sequence[RoundRecord],
    people: Sequence[ContributorRecord],
    coordinator: Sequence[str],
) -> Iterator[str]:
    yield f"# {config['name']}"
    yield ""
    if "data" in config:
        yield f"- data `{config['data']['kind']}`, model `{config['model']['kind']}`, "
    else:
        yield "- a Flower app of one's own, "
    yield f"  rule `{config['aggregator']['kind']}`, scoring `{config['scoring']['kind']}`, "
    yield f"  seed {config['seed']}"
    yield f"- contract `{federation['contract']}` on chain {federation['chain_id']}, "
    yield f"  head block {federation.get('head_block', '?')} `{federation.get('head_hash', '?')}`"
    last = next((r for r in reversed(rounds) if r.test_accuracy is not None), None)
    if last is not None:
        yield f"- test accuracy after round {last.round}: **{last.test_accuracy:.1%}**"
    yield ""
    yield "![accuracy per round](plots/accuracy.png)"
    yield ""
    yield "## Rounds"
    yield ""
    yield "| round | status | contributors | refused | accuracy | paid | model root |"
    yield "|---:|---|---:|---|---:|---:|---|"
    for record in rounds:
        yield _round_row(record)
    yield ""
    yield from _metric_lines(rounds)
    yield from contributor_lines(people)
    if coordinator:
        yield ""
        yield "## Coordinator"
        yield ""
        for line in coordinator:
            yield f"- {line}"
    yield ""
    yield from _settings_lines(config)


def contributor_lines(people: Sequence[ContributorRecord]) -> Iterator[str]:
    """Return the section on contributors; how they behave only where that is known."""
    simulated = any(person.behaviour for person in people)
    who = ("client | behaviour", "---|---") if simulated else ("participant", "---")
    yield "## Contributors"
    yield ""
    yield "![stakes and rewards](plots/stakes_rewards.png)"
    yield ""
    yield f"| {who[0]} | examples | rounds | refused | bond | slashed | earned | address |"
    yield f"|{who[1]}|---:|---:|---|---:|---:|---:|---|"
    for person in people:
        yield _contributor_row(person)


def _metric_lines(rounds: Sequence[RoundRecord]) -> Iterator[str]:
    names = metric_names(rounds)
    if not names:
        return
    yield "## Metrics"
    yield ""
    yield "![metrics per round](plots/metrics.png)"
    yield ""
    yield f"| round | {' | '.join(_cell(name) for name in names)} |"
    yield f"|---:|{'---:|' * len(names)}"
    for record in rounds:
        if record.metrics:
            values = (record.metrics.get(name) for name in names)
            cells = ("" if value is None else f"{value:.4f}" for value in values)
            yield f"| {record.round} | {' | '.join(cells)} |"
    yield ""


def _settings_lines(config: Mapping[str, Any]) -> Iterator[str]:
    """Show every section of the experiment as it was run, whatever sections and kinds there are."""
    yield "## Settings"
    yield ""
    yield "As run, defaults and worked-out values included: `config.json`."
    yield ""
    yield "| section | kind | options |"
    yield "|---|---|---|"
    for name, value in config.items():
        tables = value if isinstance(value, list) else [value]
        for index, table in enumerate(tables):
            if isinstance(table, dict):
                place = f"{name}[{index}]" if isinstance(value, list) else name
                options = (f"{key} = {_value(v)}" for key, v in table.items() if key != "kind")
                kind = str(table.get("kind", ""))
                yield f"| {place} | {_code(kind)} | {_code(', '.join(options))} |"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    """Return a text as code in one cell of a table, whatever characters it has; empty as it is."""
    if not text:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{_cell(text)}{pad}{fence}"


def _cell(name: str) -> str:
    """Return a name that may come from a data set as one cell of a table."""
    return " ".join(name.replace("|", "\\|").split())


def _round_row(record: RoundRecord) -> str:
    accuracy = "" if record.test_accuracy is None else f"{record.test_accuracy:.1%}"
    status = record.status + (f": {record.reason}" if record.reason else "")
    return (
        f"| {record.round} | {status} | {record.contributors} | {counts(record.refusals)} | "
        f"{accuracy} | {ether(record.paid_wei)} | `{record.model_root[:16]}` |"
    )


def _contributor_row(person: ContributorRecord) -> str:
    who = f"{person.label} | {person.behaviour}" if person.behaviour else person.label
    return (
        f"| {who} | {person.examples} | {person.accepted} | "
        f"{counts(person.refusals)} | {ether(person.stake_wei)} | {ether(person.slashed_wei)} | "
        f"{ether(person.earned_wei)} | `{person.address}` |"
    )


def counts(codes: Mapping[str, int]) -> str:
    """Return codes with how often each was there."""
    return ", ".join(f"{code} ×{n}" if n > 1 else code for code, n in sorted(codes.items()))
