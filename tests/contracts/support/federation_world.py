"""A deployed federation on an embedded chain in memory, with named accounts, for the tests."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from chains import bare_chain, embedded_chain
from eth_abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding import calls
from contracts.binding.artifacts import Artifact, artifact_from_json
from contracts.binding.calls import Call
from contracts.binding.events import FederationEvent
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.transactions import Receipt
from contracts.compile import SOURCE_FOLDER, compile_contract
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import Seal, Settlement
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import RoundId, Signed, SigningDomain, UpdateMessage, address_bytes

ETHER = 10**18
MEMBERS = 6
MIN_STAKE = 1_000
MIN_BOND = 10_000
BUDGET = 700
WINDOW = 50
MIN_OPEN = 5
UNBONDING = 400
SLASH_BPS = 3_000
BOND_BPS = 5_000
ZERO = "0x" + "00" * 20
MINER = "0x00000000000000000000000000000000000000C0"  # tips go here, burned ether does not
SOURCES = Path(__file__).parent.parent / "sources"


def digest(number: int) -> bytes:
    """A recognisable 32-byte digest."""
    return number.to_bytes(2, "big") * 16


MODEL = digest(1)
RULE = digest(2)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


COORDINATOR: LocalAccount = Account.from_key(key(1))
STRANGER: LocalAccount = Account.from_key(key(2))
CONTRIBUTORS: list[LocalAccount] = sorted(
    (Account.from_key(key(100 + i)) for i in range(MEMBERS)),
    key=lambda account: address_bytes(account.address),
)
EVERYONE = [COORDINATOR, STRANGER, *CONTRIBUTORS]
TERMS = Terms(
    coordinator=COORDINATOR.address,
    initial_model_root=MODEL,
    config_digest=digest(3),
    min_stake_wei=MIN_STAKE,
    min_coordinator_bond_wei=MIN_BOND,
    round_budget_wei=BUDGET,
    min_contributors=2,
    min_open_s=MIN_OPEN,
    challenge_window_s=WINDOW,
    unbonding_period_s=UNBONDING,
    contributor_slash_bps=SLASH_BPS,
    coordinator_slash_bps=BOND_BPS,
)


@cache
def helper_artifact(name: str) -> Artifact:
    """Compile one of the tests' own contracts."""
    return artifact_from_json(compile_contract(SOURCES / f"{name}.vy", SOURCES, [SOURCE_FOLDER]))


def rewards_nodes(earned: dict[str, int]) -> tuple[list[bytes], list[str]]:
    """All digests of the tree of cumulative rewards, and the order of its leaves.

    Written here from OpenZeppelin's layout, apart from ``coordinator.protocol``, to check one
    against the other.
    """
    order = sorted(earned, key=address_bytes)
    nodes = [b""] * (2 * len(order) - 1)
    for i, who in enumerate(order):
        inner = Web3.keccak(encode(["address", "uint256"], [who, earned[who]]))
        nodes[2 * len(order) - 2 - i] = bytes(Web3.keccak(inner))
    for i in reversed(range(len(order) - 1)):
        nodes[i] = bytes(Web3.keccak(b"".join(sorted(nodes[2 * i + 1 : 2 * i + 3]))))
    return nodes, order


def rewards_root(earned: dict[str, int]) -> bytes:
    return rewards_nodes(earned)[0][0]


def rewards_proof(earned: dict[str, int], who: str) -> tuple[int, tuple[bytes, ...]]:
    """The arguments of the claim of one account."""
    nodes, order = rewards_nodes(earned)
    at = 2 * len(order) - 2 - order.index(who)
    proof = []
    while at > 0:
        proof.append(nodes[at + 1 if at % 2 else at - 1])
        at = (at - 1) // 2
    return earned[who], tuple(proof)


@dataclass
class World:
    """One node, one federation; ``dt`` in the methods is seconds since the head."""

    node: EmbeddedNode
    w3: Web3
    federation: Federation

    @classmethod
    def create(
        cls,
        terms: Terms = TERMS,
        accounts: list[LocalAccount] = EVERYONE,
        wealth: int = 100 * ETHER,
        *,
        revm: bool = False,
        **genesis: Any,
    ) -> "World":
        """``revm`` makes a chain without blocks on another EVM, see ``revm_chain``."""
        alloc = {account.address: wealth for account in accounts}
        start = GenesisConfig(alloc=alloc, **{"coinbase": MINER, **genesis})
        node, w3, transactor = bare_chain(start) if revm else embedded_chain(start)
        return cls(node, w3, Federation.deploy(w3, COORDINATOR, terms, transactor=transactor))

    def populate(self) -> "World":
        """Bond everybody, fund the pool for many rounds."""
        bonds = [(member, calls.join(MIN_STAKE + i)) for i, member in enumerate(CONTRIBUTORS)]
        others = [
            (COORDINATOR, calls.bond_coordinator(2 * MIN_BOND)),
            (STRANGER, calls.fund(100 * BUDGET)),
        ]
        self.federation.send_batch(self.federation.prepare_all([*bonds, *others]))
        return self

    # Time and money ----------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.node.head.timestamp

    def balance(self, who: str) -> int:
        return self.node.get_balance(who)

    @property
    def held(self) -> int:
        return self.balance(self.federation.address)

    @property
    def burned(self) -> int:
        return self.balance(ZERO)

    def wait_until(self, timestamp: int) -> None:
        """Let the next block be at ``timestamp``, if the chain is not past it."""
        if self.now < timestamp - 1:
            self.node.mine(timestamp=timestamp - 1)

    # Transactions ------------------------------------------------------------------------

    def send(self, account: LocalAccount, call: Call, at: int | None = None) -> Receipt:
        signed = self.federation.prepare(account, call)
        return self.federation.send_batch([signed], timestamp=at)[0]

    def event(self, account: LocalAccount, call: Call, at: int | None = None) -> FederationEvent:
        """Send and return the only event."""
        (event,) = self.send(account, call, at).events
        return event

    def reason(self, account: LocalAccount, call: Call, at: int | None = None) -> str:
        """Send what must revert, and return the reason."""
        before = self.federation.head(), self.held
        try:
            self.send(account, call, at)
        except TransactionRevertedError as reverted:
            assert (self.federation.head(), self.held) == before
            return reverted.reason
        raise AssertionError(f"{call.label} did not revert")

    def deploy(self, name: str, *arguments: Any, value: int = 0) -> str:
        """Deploy one of the tests' own contracts."""
        code = helper_artifact(name).creation_code(arguments)
        call = Call("deploy", code, value, 3_000_000, f"deploy {name}")
        transactor = self.federation.transactor
        receipt = transactor.send(transactor.prepare(STRANGER, call, None))
        assert receipt.contract_address is not None
        return receipt.contract_address

    def invoke(
        self,
        account: LocalAccount,
        name: str,
        address: str,
        function: str,
        *arguments: Any,
        value: int = 0,
        at: int | None = None,
    ) -> Receipt:
        """Call one of the tests' own contracts."""
        data = helper_artifact(name).functions[function].encode_call(arguments)
        transactor = self.federation.transactor
        signed = transactor.prepare(account, Call(function, data, value, 2_000_000, name), address)
        return transactor.send_batch([signed], timestamp=at)[0]

    def ask(self, name: str, address: str, function: str) -> Any:
        abi = helper_artifact(name).functions[function]
        return abi.decode_result(self.federation.rpc.call(address, abi.encode_call(())))[0]

    # Rounds ------------------------------------------------------------------------------

    def open(self, number: int, model: bytes | None = None, length: int = 100) -> int:
        """Open a round on the head and return its deadline."""
        root = self.federation.head().model_root if model is None else model
        deadline = self.now + 1 + length
        self.send(COORDINATOR, calls.open_round(RoundId(number), root, RULE, deadline))
        return deadline

    def seal(self, number: int, n: int = MEMBERS, model: bytes | None = None) -> Receipt:
        round_ = self.federation.round(RoundId(number))
        self.wait_until(round_.opened_at + MIN_OPEN)
        return self.send(COORDINATOR, seal_call(number, n, model))

    def settle(self, number: int, earned: dict[str, int], paid: int, score: int = 7) -> Receipt:
        call = settle_call(number, rewards_root(earned), paid, score)
        return self.send(COORDINATOR, call)

    def play(self, number: int, earned: dict[str, int] | None = None, paid: int = 0) -> None:
        """Open, seal and settle a round; nothing is paid unless said so."""
        self.open(number)
        self.seal(number)
        tree = earned or {member.address: 0 for member in CONTRIBUTORS}
        self.settle(number, tree, paid, score=7 if paid else 0)

    def finalize(self, number: int) -> Receipt:
        end = self.federation.round(RoundId(number)).finalizable_at
        assert end is not None
        self.wait_until(end)
        return self.send(STRANGER, calls.finalize_round(RoundId(number)))

    def signed(
        self, account: LocalAccount, number: int, update: bytes, **changes: Any
    ) -> Signed[UpdateMessage]:
        """An update as a contributor signs it; ``domain`` may be another one's."""
        domain: SigningDomain = changes.pop("domain", self.federation.domain)
        message = UpdateMessage(RoundId(number), MODEL, update, 12, digest(9))
        return sign_statement(domain, replace(message, **changes), bytes(account.key))

    def forget(self) -> None:
        """After the chain went back to a snapshot."""
        self.federation.transactor.forget_nonces()


def seal_call(number: int, n: int = MEMBERS, model: bytes | None = None, **changes: Any) -> Call:
    fields: dict[str, Any] = {
        "contributors_root": digest(20 + number),
        "n": n,
        "total_examples": 72,
        "total_stake_wei": 6_015,
        "new_model_root": model or digest(1000 + number),
    }
    return calls.seal_round(RoundId(number), Seal(**{**fields, **changes}))


def settle_call(
    number: int, rewards_root: bytes, paid: int, score: int = 7, **changes: Any
) -> Call:
    fields: dict[str, Any] = {
        "scores_root": digest(40 + number),
        "total_score": score,
        "rewards_root": rewards_root,
        "paid_wei": paid,
    }
    return calls.settle_round(RoundId(number), Settlement(**{**fields, **changes}))
