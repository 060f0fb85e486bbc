"""Every function that changes state, a call of it, and what each kind of caller hears."""

import rlp
from eth_utils import keccak, to_checksum_address
from federation_world import (
    CONTRIBUTORS,
    COORDINATOR,
    MIN_STAKE,
    MODEL,
    RULE,
    STRANGER,
    digest,
    seal_call,
    settle_call,
)

from contracts.binding import calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import RoundId, SigningDomain, UpdateMessage

MEMBER = CONTRIBUTORS[0]
FUNCTIONS = load_artifact("federation").functions
# The world's federation is its coordinator's first transaction.
_FIRST = keccak(rlp.encode([bytes.fromhex(COORDINATOR.address[2:]), 0]))[12:]
DOMAIN = SigningDomain(1337, to_checksum_address(_FIRST))
CALLERS = {"coordinator": COORDINATOR, "member": MEMBER, "stranger": STRANGER}
NOT_COORDINATOR = "role: not coordinator"
NOT_REFEREE = "role: not referee"


def raw(function: str, *arguments: object) -> Call:
    data = FUNCTIONS[function].encode_call(arguments)
    return Call(function, data, 0, 300_000, function)


def evidence() -> Call:
    messages = [UpdateMessage(RoundId(1), MODEL, digest(50 + i), 12, digest(9)) for i in range(2)]
    return calls.slash_equivocation(
        *(sign_statement(DOMAIN, m, bytes(MEMBER.key)) for m in messages)
    )


# Per function: the call, and what each caller hears in a federation whose round 1 is open.
# "" is success. The order of checks puts the role first wherever there is one.
MATRIX: dict[str, tuple[Call, dict[str, str]]] = {
    "join": (
        calls.join(MIN_STAKE),
        {"coordinator": "role: is coordinator", "member": "", "stranger": ""},
    ),
    "leave": (
        calls.leave(),
        {
            "coordinator": "role: is coordinator",
            "member": "",
            "stranger": "stake: nothing bonded",
        },
    ),
    "withdraw": (calls.withdraw(), dict.fromkeys(CALLERS, "stake: nothing unbonding")),
    "collect": (calls.collect(), dict.fromkeys(CALLERS, "collect: nothing due")),
    "fund": (calls.fund(5), dict.fromkeys(CALLERS, "")),
    "claim": (calls.claim(1, ()), dict.fromkeys(CALLERS, "claim: bad proof")),
    "slash_equivocation": (evidence(), dict.fromkeys(CALLERS, "")),
    "finalize_round": (calls.finalize_round(1), dict.fromkeys(CALLERS, "round: not settled")),
    "expire_round": (calls.expire_round(1), dict.fromkeys(CALLERS, "round: before deadline")),
    "bond_coordinator": (
        calls.bond_coordinator(5),
        {"coordinator": "", "member": NOT_COORDINATOR, "stranger": NOT_COORDINATOR},
    ),
    "unbond_coordinator": (
        calls.unbond_coordinator(),
        {
            "coordinator": "round: still live",
            "member": NOT_COORDINATOR,
            "stranger": NOT_COORDINATOR,
        },
    ),
    "set_referee": (
        calls.set_referee(MEMBER.address),
        {
            "coordinator": "referee: round opened",
            "member": NOT_COORDINATOR,
            "stranger": NOT_COORDINATOR,
        },
    ),
    "open_round": (
        calls.open_round(2, MODEL, RULE, 1_700_000_300),
        {
            "coordinator": "round: still open",
            "member": NOT_COORDINATOR,
            "stranger": NOT_COORDINATOR,
        },
    ),
    "commit_updates": (
        calls.commit_updates(1, digest(8), 3),
        {"coordinator": "", "member": NOT_COORDINATOR, "stranger": NOT_COORDINATOR},
    ),
    "seal_round": (
        seal_call(1),
        {"coordinator": "", "member": NOT_COORDINATOR, "stranger": NOT_COORDINATOR},
    ),
    "settle_round": (
        settle_call(1, digest(7), 700),
        {
            "coordinator": "round: not sealed",
            "member": NOT_COORDINATOR,
            "stranger": NOT_COORDINATOR,
        },
    ),
    "void_round": (
        calls.void_round(1, "x"),
        {"coordinator": "", "member": NOT_COORDINATOR, "stranger": NOT_COORDINATOR},
    ),
    "convict_coordinator": (
        raw("convict_coordinator", 1, MEMBER.address, digest(1)),
        dict.fromkeys(CALLERS, NOT_REFEREE),
    ),
    "hold_round": (raw("hold_round", 1, 1_700_000_300), dict.fromkeys(CALLERS, NOT_REFEREE)),
}
