"""A federation's public state: ``fedproof status | rounds | contributors``."""

import time
from typing import Annotated, Any

import typer

from clients.commands.evaluations import (
    CLAIMED,
    PUBLIC,
    cells,
    evaluation_line,
    evaluations,
    public_share,
)
from clients.commands.output import amount, duration, moment, table
from clients.commands.session import AsJson, Session, service_of, with_session
from contracts.binding.http_client import HttpClient, UnreachableError
from coordinator.commands.output import console, print_json, short
from coordinator.protocol.amounts import exact_ether
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.commitments.documents import reward_leaves
from coordinator.protocol.errors import VerificationError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.evaluation import EvaluationSummary
from coordinator.protocol.types import Address, RoundId, Wei

_STATUS_BYTES = 1 << 20
_NO_ROOT = bytes(32)


@with_session
def status(session: Session, as_json: AsJson = False) -> None:
    """Show a federation: its rounds, money and coordinator, and the state of the service.

    Examples:

      [bold]fedproof status --config participant.toml[/bold]

      [bold]fedproof status --rpc https://host:8700/rpc --store https://host:8700 --ca ca.crt[/bold]

    Exit status: 0; 2 bad options; 5 chain.
    """
    facts = _facts(session)
    service = _service(session)
    if as_json:
        print_json({**facts, "service": service})
        return
    for name, text in _status_lines(session, facts, service):
        console.print(f"{name:<12} {text}", soft_wrap=True)


def _facts(session: Session) -> dict[str, Any]:
    federation = session.federation
    head, terms, block = federation.head(), federation.terms, federation.block()
    coordinator = federation.account(terms.coordinator)
    bonds = federation.stakes_at(RoundId(head.last_opened + 1))
    return {
        "contract": federation.address,
        "chain_id": federation.chain_id,
        "block": block.number,
        "block_hash": "0x" + block.hash.hex(),
        "block_time": block.timestamp,
        "open_round": head.open_round or None,
        "last_opened": head.last_opened,
        "last_sealed": head.head_round,
        "last_final": head.final_round,
        "model_root": head.model_root.hex(),
        "pool_wei": str(head.pool_wei),
        "pledged_wei": str(head.pledged_wei),
        "unclaimed_wei": str(head.reserve_wei),
        "round_budget_wei": str(terms.round_budget_wei),
        "members": head.member_count,
        "bonded": len(bonds),
        "bonded_wei": str(sum(bonds.values())),
        "min_stake_wei": str(terms.min_stake_wei),
        "coordinator": terms.coordinator,
        "coordinator_bond_wei": str(coordinator.bond_wei),
        "coordinator_unbonding_wei": str(coordinator.unbonding_wei),
        "challenge_window_s": terms.challenge_window_s,
        "unbonding_period_s": terms.unbonding_period_s,
        "referee": head.referee if int(head.referee, 16) else None,
    }


def _service(session: Session) -> dict[str, Any] | None:
    """Return the coordinator's own ``/status``, or an ``error`` if it does not answer."""
    store = session.store()
    url = service_of(store)
    if url is None:
        return None
    client = HttpClient(url, ca_file=session.options.ca, timeout_s=10.0, attempts=1)
    try:
        answer = client.get("/status", limit_bytes=_STATUS_BYTES)
        if answer.status != 200:
            return {"error": f"{url}/status: status {answer.status}"}
        parsed = parse_json(answer.data, f"{url}/status")
        return parsed if isinstance(parsed, dict) else {"error": f"{url}/status: no JSON object"}
    except (UnreachableError, OSError, VerificationError) as error:
        return {"error": str(error)}
    finally:
        client.close()


def _status_lines(
    session: Session, facts: dict[str, Any], service: dict[str, Any] | None
) -> list[tuple[str, str]]:
    agreement = session.options.agreement
    name = f"{agreement.name}, " if agreement else ""
    age = max(0, int(time.time()) - facts["block_time"])
    opened = f"round {facts['open_round']} is open" if facts["open_round"] else "no round is open"
    budget = amount(int(facts["round_budget_wei"]))
    evaluated = evaluation_line(service)
    bond = f"bond {amount(int(facts['coordinator_bond_wei']))}"
    return [
        ("federation", f"{name}contract {facts['contract']}, chain {facts['chain_id']}"),
        (
            "head",
            f"block {facts['block']}, {moment(facts['block_time'])} ({duration(age)} ago)",
        ),
        (
            "rounds",
            f"{opened}; sealed up to {facts['last_sealed']}, final up to {facts['last_final']}",
        ),
        ("model", facts["model_root"]),
        ("pool", f"{amount(int(facts['pool_wei']))}, at most {budget} a round"),
        ("unclaimed", amount(int(facts["unclaimed_wei"]))),
        (
            "contributors",
            f"{facts['bonded']} bonded of {facts['members']} members, "
            f"{amount(int(facts['bonded_wei']))} together",
        ),
        ("coordinator", f"{facts['coordinator']}, {bond}"),
        ("service", _service_line(service)),
        *([] if evaluated is None else [("evaluation", evaluated)]),
    ]


def _service_line(service: dict[str, Any] | None) -> str:
    if service is None:
        return "not asked: its URL is not known (--store)"
    if "error" in service:
        return f"does not answer: {service['error']}"
    online = service.get("contributors", {}).get("online", [])
    state = "ready" if service.get("ready") else f"not ready: {service.get('not_ready')}"
    behind = service.get("contributors", {}).get("out_of_step", [])
    late = f" ({len(behind)} one round late: {', '.join(behind)})" if behind else ""
    return f"{service.get('phase')}, {len(online)} contributors online{late}, {state}"


@with_session
def rounds(
    session: Session,
    last: Annotated[int, typer.Option(min=1, help="Number of newest rounds to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List rounds: status, contributors, examples, payment, new model.

    Where the federation agreed on evaluation, also accuracy and loss as participants claim them.

    Example: [bold]fedproof rounds --config participant.toml --last 5[/bold]

    Exit status: 0; 2 bad options; 5 chain.
    """
    federation = session.federation
    newest = federation.head().last_opened
    numbers = range(max(1, newest - last + 1), newest + 1)
    entries = [_round_json(session, federation.round(RoundId(number))) for number in numbers]
    measured = _measured(session, entries, last)
    if measured is not None:
        entries = [
            {**row, "evaluation": None if one is None else one.as_json()}
            for row, one in zip(entries, measured, strict=True)
        ]
    if as_json:
        print_json({"contract": federation.address, "last_opened": newest, "rounds": entries})
        return
    if not entries:
        console.print("no round has been opened yet")
        return
    names = ["round", "status", "opened", "n", "examples", "score", "paid", "model", "why"]
    rows = [_round_row(row) for row in entries]
    if measured is not None:
        names[-2:-2] = ["accuracy", "loss"]
        is_public = any(one is not None and one.public for one in measured)
        names[-2:-2] = ["public"] if is_public else []
        for row, one in zip(rows, measured, strict=True):
            row[-2:-2] = [*cells(one), *([public_share(one)] if is_public else [])]
    table(names, rows, left=("status", "model", "why"))
    if measured is not None and any(measured):
        console.print(CLAIMED, soft_wrap=True)
        if "public" in names:
            console.print(PUBLIC, soft_wrap=True)


def _measured(
    session: Session, rows: list[dict[str, Any]], last: int
) -> list[EvaluationSummary | None] | None:
    """Return each round's evaluation of the model that the chain says; ``None`` without any."""
    said = evaluations(session, last)
    if said is None:
        return None
    by_round = (said.get(RoundId(row["round"])) for row in rows)
    return [
        one if one is not None and one.model_root.hex() == row["model_root"] else None
        for one, row in zip(by_round, rows, strict=True)
    ]


def _round_row(row: dict[str, Any]) -> list[str]:
    numbers = [str(row[name]) for name in ("contributors", "examples", "score")]
    paid = exact_ether(int(row["paid_wei"]))
    model = short(row["model_root"])
    opened = moment(row["opened_at"])
    return [str(row["round"]), row["status"], opened, *numbers, paid, model, row["reason"]]


def _round_json(session: Session, round_: ChainRound) -> dict[str, Any]:
    is_void = round_.status is RoundStatus.VOID
    is_sealed = round_.new_model_root != _NO_ROOT
    return {
        "round": round_.round_id,
        "status": round_.status.word,
        "reason": session.federation.void_reason(round_.round_id) if is_void else "",
        "parent": round_.parent,
        "opened_at": round_.opened_at,
        "deadline": round_.deadline,
        "contributors": round_.n,
        "examples": round_.total_examples,
        "stake_wei": str(round_.total_stake_wei),
        "score": round_.total_score,
        "budget_wei": str(round_.budget_wei),
        "paid_wei": str(round_.paid_wei),
        "model_root": round_.new_model_root.hex() if is_sealed else "",
        "finalizable_at": round_.finalizable_at,
    }


@with_session
def contributors(
    session: Session,
    bonded: Annotated[bool, typer.Option("--bonded", help="Only those with a bond.")] = False,
    as_json: AsJson = False,
) -> None:
    """List all members, past ones too: bond, unbonding amount, rewards earned and claimed.

    Only rewards of final rounds count as earned; they are read from the artifact store.

    Example: [bold]fedproof contributors --config participant.toml[/bold]

    Exit status: 0; 1 or 6 if the store lacks the rewards or does not answer; 2 bad options;
    5 chain.
    """
    earned = _earned(session)
    rows = [_contributor_json(session, address, earned) for address in session.federation.members()]
    if bonded:
        rows = [row for row in rows if int(row["bond_wei"])]
    if as_json:
        print_json({"contract": session.federation.address, "contributors": rows})
        return
    if not rows:
        console.print("nobody has joined yet")
        return
    names = ("member", "address", "bond", "unbonding", "earned", "claimed")
    table(names, [_contributor_row(row) for row in rows], left=("address",))


def _contributor_row(row: dict[str, Any]) -> list[str]:
    amounts = [row[f"{name}_wei"] for name in ("bond", "unbonding", "earned", "claimed")]
    shown = ["?" if wei is None else exact_ether(int(wei)) for wei in amounts]
    return [str(row["member"]), row["address"], *shown]


def _contributor_json(
    session: Session, address: Address, earned: dict[Address, Wei] | None
) -> dict[str, Any]:
    state = session.federation.account(address)
    return {
        "member": state.index,
        "address": address,
        "bond_wei": str(state.bond_wei),
        "unbonding_wei": str(state.unbonding_wei),
        "matures_at": state.matures_at or None,
        "earned_wei": None if earned is None else str(earned.get(address, 0)),
        "claimed_wei": str(state.claimed_wei),
    }


def _earned(session: Session) -> dict[Address, Wei] | None:
    """Return cumulative rewards of final rounds, ``None`` if no store is known."""
    store, root = session.store(), session.federation.head().rewards_root
    if store is None:
        return None
    if root == _NO_ROOT:
        return {}
    leaves = reward_leaves(store.get_document("rewards", root))
    return {leaf.contributor: leaf.cumulative_wei for leaf in leaves}
