"""``fedproof simulate``, ``hospitals`` and ``report``: a federation on this machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from coordinator.audit.coordinator_folder import coordinator_folder
from coordinator.commands.output import console, print_json, verify_command
from coordinator.commands.run_names import RUNS, run_folder
from coordinator.protocol.amounts import ether
from coordinator.protocol.errors import ConfigError, OutsideCodeError
from coordinator.stores.run_folder import RunFolder
from simulations.data.folder import FOLDER_VARIABLE
from simulations.engines.fork_server import start_server
from simulations.experiment.load import load_experiment, shipped_experiments

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one value, e.g. training.epochs=2. Repeatable."
    ),
]


def simulate(
    config: Annotated[
        str,
        typer.Argument(
            help=f"A TOML file, or the name of a shipped one: {', '.join(shipped_experiments())}."
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/<name>.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Worker processes; default and most: one per core and per contributor."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Override the seed.")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Override the rounds; a run of fewer is made longer."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with data sets; else $FEDPROOF_DATA.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume an interrupted run (the same --out does that too)."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete an earlier run in the folder first.")
    ] = False,
    serve_rpc: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve the chain on loopback during the run, for other watchers; 0: a free port.",
        ),
    ] = None,
    pace: Annotated[
        float,
        typer.Option(min=0.1, help="With --serve-rpc: seconds to pause after a round for them."),
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run an experiment: train with Flower, commit every round to the chain, pay, report.

    Examples:

      [bold]fedproof simulate quickstart[/bold]

      [bold]fedproof simulate my.toml --set aggregator.kind=median --workers 4[/bold]

      [bold]fedproof simulate attack_shift --serve-rpc 8545 --set watcher.enabled=false[/bold]

      [bold]fedproof simulate heart_disease --data ~/datasets --out runs/heart --resume[/bold]

    Exit status: 0; 2 bad configuration or data; 5 chain; 6 disk; 130 interrupted.
    """
    if resume and fresh:
        raise ConfigError("--resume and --fresh contradict each other; give one of them")
    length = [] if rounds is None else [f"rounds={rounds}"]
    experiment = load_experiment(config, [*(overrides or []), *length], seed)
    start_server()  # workers import torch while this process does
    from simulations.run.simulation import (  # torch and flwr, only when needed
        RunOptions,
        run_experiment,
    )

    target = out or RUNS / experiment.name
    from simulations.engines.pool import default_workers

    workers = workers and min(workers, default_workers())
    options = RunOptions(workers, data, fresh, rounds is not None, serve_rpc, pace)
    from simulations.report.coordinator import coordinator_lines
    from simulations.report.progress import Screen, Silence, earnings_table

    try:
        if as_json:
            result = run_experiment(experiment, target, options, Silence())
        else:
            heading = (
                f"[bold]{experiment.name}[/bold]: {experiment.rounds} rounds, "
                f"{experiment.partition.clients} contributors, {experiment.data.kind}, "
                f"{experiment.aggregator.kind}, seed {experiment.seed}"
            )
            with Screen(console, experiment.rounds, experiment.cohort.size, heading) as screen:
                result = run_experiment(experiment, target, options, screen)
    except OutsideCodeError as error:
        raise ConfigError(f"{config}: {error}") from error
    if result.resumed_from == len(result.rounds) and not as_json:
        console.print(
            f"already complete: {len(result.rounds)} rounds, nothing was run; --rounds N makes the "
            "run longer"
        )
    last = result.rounds[-1]
    if as_json:
        print_json(
            {
                "run": str(target),
                "rounds": len(result.rounds),
                "void": sum(r.status == "void" for r in result.rounds),
                "test_accuracy": last.test_accuracy,
                **({} if last.metrics is None else {"metrics": last.metrics}),
                "model_root": last.model_root,
                "resumed_from": result.resumed_from,
                "coordinator": result.coordinator,
            }
        )
        return
    rows = [
        (p.label, p.behaviour, p.stake_wei, p.slashed_wei, p.earned_wei)
        for p in result.contributors
    ]
    console.print()
    console.print(earnings_table(rows[:40]), markup=False)
    if len(rows) > 40:
        console.print(f"... and {len(rows) - 40} more in {target / 'contributors.json'}")
    paid = sum(r.paid_wei for r in result.rounds)
    console.print()
    for line in coordinator_lines(result.coordinator):
        console.print(f"coordinator  {line}", style="yellow", soft_wrap=True)
    console.print(f"paid     {ether(paid)} in {len(result.rounds)} rounds")
    console.print(f"run      {target}")
    console.print(f"report   {target / 'report.md'}")
    console.print(f"plots    {target / 'plots' / 'accuracy.png'}")
    if experiment.metrics:
        console.print(f"         {target / 'plots' / 'metrics.png'}")
    console.print(f"         {target / 'plots' / 'stakes_rewards.png'}")
    console.print(f"verify   {verify_command(target, experiment.extensions)}", soft_wrap=True)


def hospitals(
    out: Annotated[Path, typer.Option(help="The folder to create.")] = Path("runs/hospitals"),
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="Number of rounds.")] = 10,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with heart-disease/; else $FEDPROOF_DATA, else bundled data."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete an earlier demonstration in the folder first.")
    ] = False,
) -> None:
    """Run a real federation on this machine: a coordinator and four hospitals, live.

    Five daemons train together, each with its own TLS certificate, keys and folder. Then the
    federation is verified from outside, rewards are claimed, and the daemons stop.

    Example: [bold]fedproof hospitals --data ~/datasets --rounds 10 --fresh[/bold]

    Exit status: 0; 1 if verification fails; 2 bad options or data; 70 a daemon ended.
    """
    from simulations.hospitals.data import data_folder
    from simulations.hospitals.demo import Demonstration, run_demonstration

    folder, named_by = data_folder(data, os.environ.get(FOLDER_VARIABLE))
    run_demonstration(Demonstration(out, rounds, folder, named_by, fresh), console)


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="A finished run's folder, or its name in runs/, or a coordinator's folder."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; default: into the folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw a run's plots and write its report again, from its own records.

    Of a coordinator's folder, also while it runs: rounds and money from the chain, accuracy and
    loss as participants claim them. Nothing is verified; that is what verify is for.

    Examples:

      [bold]fedproof report runs/quickstart --out /tmp/report[/bold]

      [bold]fedproof report /srv/fedproof/heart[/bold]

    Exit status: 0; 1 if an artifact is missing or not what it was; 2 if the folder holds neither a
    finished run nor a federation; 5 chain; 6 disk.
    """
    folder = run_folder(run)
    federation = coordinator_folder(folder)
    if federation is None:
        from simulations.report.markdown import write_report  # matplotlib, only when needed

        path = write_report(RunFolder(folder, read_only=True), out)
    else:
        from simulations.report.federation import write_federation_report

        path = write_federation_report(federation, out or federation.settings.parent)
    if as_json:
        print_json({"report": str(path), "plots": str(path.parent / "plots")})
        return
    console.print(f"report   {path}\nplots    {path.parent / 'plots'}")
