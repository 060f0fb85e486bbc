"""The federation's transactions as values: function, arguments, value and gas limit.

Gas limits are fixed per function, not estimated: estimation would cost a round trip each, and a
transaction's bytes, and with them the block's hash, would depend on the node. Each limit covers the
most expensive case with a margin (``docs/gas.md``, checked by a test); unused gas is not paid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from contracts.binding.artifacts import load_artifact
from coordinator.protocol.round.chain_round import VOID_REASON_BYTES, Seal, Settlement
from coordinator.protocol.types import Address, RoundId, Signed, UpdateMessage, Wei

# Fixed and not estimated: a transaction's bytes must not depend on the node (ADR 0016).
GAS_LIMITS: Final[Mapping[str, int]] = {
    "join": 250_000,
    "leave": 200_000,
    "withdraw": 150_000,
    "bond_coordinator": 200_000,
    "unbond_coordinator": 200_000,
    "fund": 100_000,
    "collect": 100_000,
    "claim": 200_000,
    "set_referee": 100_000,
    "open_round": 350_000,
    "commit_updates": 150_000,
    "seal_round": 350_000,
    "settle_round": 250_000,
    "finalize_round": 200_000,
    "void_round": 100_000,
    "expire_round": 100_000,
    "slash_equivocation": 300_000,
}
DEPLOY_GAS_LIMIT: Final = 8_000_000
MAX_PROOF_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Call:
    """One contract call, not yet signed. ``label`` names it in error messages.

    ``contract`` names the artifact whose events are in its receipt.
    """

    function: str
    data: bytes
    value_wei: Wei
    gas_limit: int
    label: str
    contract: str = "federation"


def _call(function: str, arguments: Sequence[Any] = (), *, value: int = 0, label: str = "") -> Call:
    data = load_artifact("federation").functions[function].encode_call(arguments)
    return Call(function, data, Wei(value), GAS_LIMITS[function], label or function)


def join(stake_wei: Wei) -> Call:
    """Add ``stake_wei`` to a contributor's bond."""
    return _call("join", value=stake_wei)


def leave() -> Call:
    """Start unbonding the whole bond."""
    return _call("leave")


def withdraw() -> Call:
    """Withdraw unbonded funds that have matured."""
    return _call("withdraw")


def bond_coordinator(stake_wei: Wei) -> Call:
    """Add to the coordinator's bond."""
    return _call("bond_coordinator", value=stake_wei)


def unbond_coordinator() -> Call:
    """Start unbonding the coordinator's whole bond."""
    return _call("unbond_coordinator")


def fund(amount_wei: Wei) -> Call:
    """Add to the reward pool."""
    return _call("fund", value=amount_wei)


def collect() -> Call:
    """Withdraw bounties."""
    return _call("collect")


def claim(cumulative_wei: Wei, proof: Sequence[bytes]) -> Call:
    """Claim rewards, by a proof against the last FINAL rewards root."""
    return _call("claim", (cumulative_wei, list(proof)))


def set_referee(referee: Address) -> Call:
    """Name the contract that may convict the coordinator."""
    return _call("set_referee", (referee,))


def open_round(round_id: RoundId, model_root: bytes, rule_hash: bytes, deadline: int) -> Call:
    """Open the next round on the head of the live chain."""
    return _call(
        "open_round",
        (round_id, model_root, rule_hash, deadline),
        label=f"open_round {round_id}",
    )


def commit_updates(round_id: RoundId, commitments_root: bytes, count: int) -> Call:
    """Fix the contributors' commitments of an open round (sealed mode)."""
    return _call(
        "commit_updates", (round_id, commitments_root, count), label=f"commit_updates {round_id}"
    )


def seal_round(round_id: RoundId, seal: Seal) -> Call:
    """Commit a round's contributors and new model."""
    return _call(
        "seal_round",
        (round_id, *astuple(seal)),
        label=f"seal_round {round_id}",
    )


def settle_round(round_id: RoundId, settlement: Settlement) -> Call:
    """Commit a round's scores and the cumulative rewards after it."""
    return _call(
        "settle_round",
        (round_id, *astuple(settlement)),
        label=f"settle_round {round_id}",
    )


def finalize_round(round_id: RoundId) -> Call:
    """Make a settled round final."""
    return _call("finalize_round", (round_id,), label=f"finalize_round {round_id}")


def void_round(round_id: RoundId, reason: str) -> Call:
    """Void an open round.

    Raises
    ------
    ValueError
        If ``reason`` is not 1 to ``VOID_REASON_BYTES`` ASCII characters.
    """
    if not reason.isascii() or not 1 <= len(reason) <= VOID_REASON_BYTES:
        raise ValueError(
            f"void_round {round_id}: reason {reason!r}, expected 1..{VOID_REASON_BYTES} ASCII "
            "characters"
        )
    padded = reason.encode("ascii").ljust(VOID_REASON_BYTES, b"\0")
    return _call("void_round", (round_id, padded), label=f"void_round {round_id}")


def expire_round(round_id: RoundId) -> Call:
    """Record that an open round missed its deadline."""
    return _call("expire_round", (round_id,), label=f"expire_round {round_id}")


def message_tuple(message: UpdateMessage) -> tuple[int, bytes, bytes, int, bytes]:
    """Return the contract's ``Update`` struct."""
    return (
        message.round_id,
        message.base_model,
        message.update,
        message.examples,
        message.metrics_hash,
    )


def slash_equivocation(first: Signed[UpdateMessage], second: Signed[UpdateMessage]) -> Call:
    """Slash a contributor for two signatures on different updates of one round."""
    return _call(
        "slash_equivocation",
        (
            first.signer,
            message_tuple(first.statement),
            first.signature,
            message_tuple(second.statement),
            second.signature,
        ),
        label=f"slash_equivocation {first.statement.round_id} {first.signer}",
    )
