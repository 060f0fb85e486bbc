"""The ``fedproof`` script: the table of all commands.

A new command is a function in a module of its layer's ``commands`` and a line here.
"""

from typing import Final

from coordinator.commands import cli
from coordinator.commands.cli import CommandEntry, application

_HERE: Final = "On this machine"
_TAKE_PART: Final = "Take part in a federation"
_RUN: Final = "Run a federation"
_INSPECT: Final = "Inspect a federation, and challenge it"
_OTHER: Final = "Other"
COMMANDS: Final[dict[str, CommandEntry]] = {
    "simulate": CommandEntry(
        "simulations.commands:simulate",
        "Run an experiment: train with Flower, commit every round to the chain, pay, report.",
        _HERE,
    ),
    "verify": CommandEntry(
        "coordinator.commands.verify:verify",
        "Replay a whole run from its chain and blobs alone, and name every fault.",
        _HERE,
    ),
    "report": CommandEntry(
        "simulations.commands:report",
        "Draw a run's plots and write its report again, from its own records.",
        _HERE,
    ),
    "hospitals": CommandEntry(
        "simulations.commands:hospitals",
        "Run a real federation on this machine: a coordinator and four hospitals, live.",
        _HERE,
    ),
    "client": CommandEntry(
        "clients.commands.client:client",
        "Take part in a federation: train on own data, sign, upload, claim, until stopped.",
        _TAKE_PART,
    ),
    "account": CommandEntry(
        "clients.commands.account:account_app",
        "A participant's encrypted key files.",
        _TAKE_PART,
    ),
    "join": CommandEntry(
        "clients.commands.money:join",
        "Bond a stake: in rounds that open from then on, the account's updates count.",
        _TAKE_PART,
    ),
    "leave": CommandEntry(
        "clients.commands.money:leave",
        "Start unbonding the whole bond; it can still be slashed until it is withdrawn.",
        _TAKE_PART,
    ),
    "withdraw": CommandEntry(
        "clients.commands.money:withdraw",
        "Withdraw unbonded money once it is free; if there is none, bounties for proven offences.",
        _TAKE_PART,
    ),
    "claim": CommandEntry(
        "clients.commands.money:claim",
        "Claim all rewards of final rounds, with one proof from the store.",
        _TAKE_PART,
    ),
    "fund": CommandEntry(
        "clients.commands.money:fund",
        "Add money to the reward pool, which pays only rewards.",
        _TAKE_PART,
    ),
    "balance": CommandEntry(
        "clients.commands.money:balance",
        "Show an account's money: wallet, bond, unbonding amount and its date, rewards.",
        _TAKE_PART,
    ),
    "federation": CommandEntry(
        "clients.commands.federation:federation_app",
        "Found a federation; add, remove and list its participants.",
        _RUN,
    ),
    "coordinator": CommandEntry(
        "coordinator.commands.coordinator:coordinator",
        "Run a federation's coordinator: chain, store, rounds, and Flower's SuperLink.",
        _RUN,
    ),
    "status": CommandEntry(
        "clients.commands.overview:status",
        "Show a federation: its rounds, money and coordinator, and the state of the service.",
        _INSPECT,
    ),
    "rounds": CommandEntry(
        "clients.commands.overview:rounds",
        "List rounds: status, contributors, examples, payment, new model.",
        _INSPECT,
    ),
    "contributors": CommandEntry(
        "clients.commands.overview:contributors",
        "List all members, past ones too: bond, unbonding amount, rewards earned and claimed.",
        _INSPECT,
    ),
    "watch": CommandEntry(
        "clients.commands.watch:watch",
        "Follow a federation: replay every sealed round, and prove fraud to its referee.",
        _INSPECT,
    ),
    "challenge": CommandEntry(
        "clients.commands.challenge:challenge",
        "Challenge the faults of one round, or only those of one chunk of its new model.",
        _INSPECT,
    ),
    "evidence": CommandEntry(
        "clients.commands.evidence:evidence_app",
        "What a coordinator signed: export it, and check whether it told two different things.",
        _INSPECT,
    ),
    "chain": CommandEntry(
        "coordinator.commands.chain:chain_app",
        "The embedded chain: serve it, show its blocks.",
        _OTHER,
    ),
    "version": CommandEntry(
        "coordinator.commands.version:version",
        "Print the versions of Fedproof and of the packages it depends on.",
        _OTHER,
    ),
}
app = application(
    "fedproof",
    "Federated learning that anyone can verify: train, commit, pay, audit.",
    COMMANDS,
)


def main() -> None:
    """Start the ``fedproof`` command."""
    cli.run(app)
