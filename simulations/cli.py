"""The ``fedproof`` script: the table of all commands.

A new command is a function in a module of its layer's ``commands`` and a line here.
"""

from typing import Final

from coordinator.commands import cli
from coordinator.commands.cli import CommandEntry, application

COMMANDS: Final[dict[str, CommandEntry]] = {
    "simulate": CommandEntry(
        "simulations.commands:simulate",
        "Run an experiment: train with Flower, commit every round to the chain, pay, report.",
    ),
    "report": CommandEntry(
        "simulations.commands:report",
        "Draw a run's plots and write its report again, from its own records.",
    ),
    "hospitals": CommandEntry(
        "simulations.commands:hospitals",
        "Run a real federation on this machine: a coordinator and four hospitals, live.",
    ),
    "verify": CommandEntry(
        "coordinator.commands.verify:verify",
        "Replay a whole run from its chain and blobs alone, and name whatever does not hold.",
    ),
    "watch": CommandEntry(
        "clients.commands.watch:watch",
        "Follow a federation: replay every sealed round, and prove fraud to its referee.",
    ),
    "challenge": CommandEntry(
        "clients.commands.challenge:challenge",
        "Challenge one round over what is wrong with it, or only over one chunk of its new model.",
    ),
    "federation": CommandEntry(
        "clients.commands.federation:federation_app",
        "Found a federation; add, remove and list its participants.",
    ),
    "coordinator": CommandEntry(
        "coordinator.commands.coordinator:coordinator",
        "Run a federation's coordinator: chain, store, rounds, and Flower's SuperLink.",
    ),
    "client": CommandEntry(
        "clients.commands.client:client",
        "Take part in a federation: train on own data, sign, upload, claim, until stopped.",
    ),
    "status": CommandEntry(
        "clients.commands.overview:status",
        "Show a federation: its rounds, its money, its coordinator, and how the service is.",
    ),
    "rounds": CommandEntry(
        "clients.commands.overview:rounds",
        "List rounds: status, contributors, examples, what was paid, the model that came out.",
    ),
    "contributors": CommandEntry(
        "clients.commands.overview:contributors",
        "List everybody who ever joined: bond, what is unbonding, rewards earned and claimed.",
    ),
    "account": CommandEntry(
        "clients.commands.account:account_app",
        "A participant's encrypted key files.",
    ),
    "join": CommandEntry(
        "clients.commands.money:join",
        "Bond a stake: in rounds that open from then on, the account's updates count.",
    ),
    "leave": CommandEntry(
        "clients.commands.money:leave",
        "Start unbonding the whole bond; it can still be slashed until it is withdrawn.",
    ),
    "withdraw": CommandEntry(
        "clients.commands.money:withdraw",
        "Take out what is unbonded and free; else, bounties for proven offences.",
    ),
    "claim": CommandEntry(
        "clients.commands.money:claim",
        "Take out all rewards of final rounds, with one proof from the store.",
    ),
    "fund": CommandEntry(
        "clients.commands.money:fund",
        "Add to the reward pool. It can only leave as rewards.",
    ),
    "balance": CommandEntry(
        "clients.commands.money:balance",
        "Show an account's money: wallet, bond, what is unbonding and when it is free, rewards.",
    ),
    "chain": CommandEntry(
        "coordinator.commands.chain:chain_app",
        "The embedded chain: serve it, look at it.",
    ),
    "version": CommandEntry(
        "coordinator.commands.version:version",
        "Print the versions of Fedproof and of what it stands on.",
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
