"""The federation contract as a typed Python object, the same on any node.

Views are methods; transactions take the account that signs first. Amounts are wei, digests 32
bytes, times seconds of chain time. To prepare transactions and send many at once, build them with
:mod:`contracts.binding.calls` and use :meth:`Federation.prepare_all` and
:meth:`Federation.send_batch`.
"""

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding import calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from contracts.binding.reader import FederationReader
from contracts.binding.records import Terms
from contracts.binding.rpc import rpc_of
from contracts.binding.transactions import Receipt, SignedCall, Transactor
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.round.chain_round import Seal, Settlement
from coordinator.protocol.types import Address, RoundId, Signed, UpdateMessage, Wei


class Federation(FederationReader):
    """A deployed federation: views, and transactions signed with local keys.

    Parameters
    ----------
    w3
        Any connection: in process, HTTP, IPC. Only its provider is used.
    address
        The contract's address.
    transactor
        Shares nonces with other contracts' transactions; a new one by default.

    Raises
    ------
    LedgerError
        If there is no contract at the address.
    """

    def __init__(self, w3: Web3, address: Address, *, transactor: Transactor | None = None) -> None:
        self.transactor = transactor or Transactor(rpc_of(w3))
        super().__init__(self.transactor.rpc, address)

    @classmethod
    def deploy(
        cls,
        w3: Web3,
        account: LocalAccount,
        terms: Terms,
        *,
        transactor: Transactor | None = None,
    ) -> "Federation":
        """Deploy a federation and return it.

        Raises
        ------
        TransactionRevertedError
            If the terms contradict each other; ``reason`` names the term.
        """
        transactor = transactor or Transactor(rpc_of(w3))
        code = load_artifact("federation").creation_code([terms.to_abi()])
        # A constructor's revert reason is not in its receipt, so it is estimated first, for free.
        transactor.rpc.request(
            "eth_estimateGas", {"from": account.address, "data": "0x" + code.hex()}
        )
        call = Call("deploy", code, Wei(0), calls.DEPLOY_GAS_LIMIT, "deploy federation")
        receipt = transactor.send(transactor.prepare(account, call, None))
        if receipt.contract_address is None:
            raise LedgerError("deploy federation: the receipt names no contract")
        return cls(w3, receipt.contract_address, transactor=transactor)

    def prepare(self, account: LocalAccount, call: Call) -> SignedCall:
        """Sign a call without sending it."""
        return self.transactor.prepare(account, call, self.address)

    def prepare_all(self, signed_by: Sequence[tuple[LocalAccount, Call]]) -> list[SignedCall]:
        """Sign several calls without sending them."""
        return self.transactor.prepare_all(signed_by, self.address)

    def send(self, signed: SignedCall) -> Receipt:
        """Send a signed call; see :meth:`contracts.binding.transactions.Transactor.send`."""
        return self.transactor.send(signed)

    def send_batch(
        self, batch: Sequence[SignedCall], *, timestamp: int | None = None
    ) -> list[Receipt]:
        """Send signed calls, in one block on the embedded node in this process.

        See :meth:`contracts.binding.transactions.Transactor.send_batch`.
        """
        return self.transactor.send_batch(batch, timestamp=timestamp)

    def transact(self, account: LocalAccount, call: Call) -> Receipt:
        """Sign and send a call, and wait for its receipt."""
        return self.send(self.prepare(account, call))

    def join(self, account: LocalAccount, stake_wei: Wei) -> Receipt:
        """Bond as a contributor; counts from the next round to open."""
        return self.transact(account, calls.join(stake_wei))

    def leave(self, account: LocalAccount) -> Receipt:
        """Start unbonding a contributor's whole bond."""
        return self.transact(account, calls.leave())

    def withdraw(self, account: LocalAccount) -> Receipt:
        """Withdraw unbonded funds that have matured."""
        return self.transact(account, calls.withdraw())

    def bond_coordinator(self, account: LocalAccount, stake_wei: Wei) -> Receipt:
        """Add to the coordinator's bond."""
        return self.transact(account, calls.bond_coordinator(stake_wei))

    def unbond_coordinator(self, account: LocalAccount) -> Receipt:
        """Start unbonding the coordinator's whole bond; every round must be final or void."""
        return self.transact(account, calls.unbond_coordinator())

    def fund(self, account: LocalAccount, amount_wei: Wei) -> Receipt:
        """Add to the reward pool."""
        return self.transact(account, calls.fund(amount_wei))

    def collect(self, account: LocalAccount) -> Receipt:
        """Withdraw bounties."""
        return self.transact(account, calls.collect())

    def claim(self, account: LocalAccount, cumulative_wei: Wei, proof: Sequence[bytes]) -> Receipt:
        """Claim rewards, by a proof against the last FINAL rewards root."""
        return self.transact(account, calls.claim(cumulative_wei, proof))

    def set_referee(self, account: LocalAccount, referee: Address) -> Receipt:
        """Name the contract that may convict the coordinator; once, before the first round."""
        return self.transact(account, calls.set_referee(referee))

    def open_round(
        self,
        account: LocalAccount,
        round_id: RoundId,
        model_root: bytes,
        rule_hash: bytes,
        deadline: int,
    ) -> Receipt:
        """Open the next round on the head of the live chain."""
        return self.transact(account, calls.open_round(round_id, model_root, rule_hash, deadline))

    def commit_updates(
        self, account: LocalAccount, round_id: RoundId, commitments_root: bytes, count: int
    ) -> Receipt:
        """Fix the contributors' commitments of an open round (sealed mode)."""
        return self.transact(account, calls.commit_updates(round_id, commitments_root, count))

    def seal_round(self, account: LocalAccount, round_id: RoundId, seal: Seal) -> Receipt:
        """Commit a round's contributors and new model."""
        call = calls.seal_round(round_id, seal)
        return self.transact(account, call)

    def settle_round(
        self, account: LocalAccount, round_id: RoundId, settlement: Settlement
    ) -> Receipt:
        """Commit a round's scores and the cumulative rewards after it."""
        call = calls.settle_round(round_id, settlement)
        return self.transact(account, call)

    def finalize_round(self, account: LocalAccount, round_id: RoundId) -> Receipt:
        """Make a settled round final; anyone may."""
        return self.transact(account, calls.finalize_round(round_id))

    def void_round(self, account: LocalAccount, round_id: RoundId, reason: str) -> Receipt:
        """Void an open round."""
        return self.transact(account, calls.void_round(round_id, reason))

    def expire_round(self, account: LocalAccount, round_id: RoundId) -> Receipt:
        """Record that an open round missed its deadline; anyone may."""
        return self.transact(account, calls.expire_round(round_id))

    def slash_equivocation(
        self, account: LocalAccount, first: Signed[UpdateMessage], second: Signed[UpdateMessage]
    ) -> Receipt:
        """Slash a contributor for two signatures on different updates; anyone may."""
        return self.transact(account, calls.slash_equivocation(first, second))
