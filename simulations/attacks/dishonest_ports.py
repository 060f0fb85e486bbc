"""ATTACKS, continued: a store that keeps an update to itself, a ledger that insists.

Who cheats, and when, is here too: both ends need it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eth_account.signers.local import LocalAccount

from contracts.binding.federation import Federation
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.protocol.errors import BlobMissingError, ConfigError, TransactionRevertedError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import Seal
from coordinator.protocol.types import Address, Int32Vector, RoundId
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal
from simulations.experiment.attacks import AttackConfig, SealEarlyAttack, SealTwiceAttack


@dataclass(frozen=True)
class Attacker:
    """Who cheats, when, and on whom: ``clients`` are the contributors' addresses, by client."""

    attacks: Mapping[int, AttackConfig]
    clients: Sequence[Address]
    coordinator: Address

    @classmethod
    def of(
        cls, attacks: Sequence[AttackConfig], clients: Sequence[Address], coordinator: Address
    ) -> "Attacker":
        """Return the attacker of an experiment's ``[[coordinator_attacks]]``."""
        return cls({attack.round: attack for attack in attacks}, clients, coordinator)

    def attack(self, round_id: RoundId) -> AttackConfig | None:
        """Return what is tried in a round."""
        return self.attacks.get(int(round_id))


class WithholdingStore(DiskStore):
    """An artifact store whose owner keeps some vectors in a folder of its own."""

    def __init__(self, root: Path, private: Path) -> None:
        super().__init__(root)
        self._private = DiskStore(private)
        self._withheld: set[bytes] = set()

    def withhold(self, root: bytes) -> None:
        """Never publish the vector of this root."""
        self._withheld.add(root)

    def put_vector(self, vector: Int32Vector, manifest: Manifest, root: bytes) -> None:
        """Queue a vector; a withheld one where only the coordinator looks."""
        if root in self._withheld:
            self._private.put_vector(vector, manifest, root)
        else:
            super().put_vector(vector, manifest, root)

    def get_vector(self, root: bytes, manifest: Manifest) -> Int32Vector:
        """Return a vector, withheld or not."""
        try:
            return super().get_vector(root, manifest)
        except BlobMissingError:
            return self._private.get_vector(root, manifest)

    def keep_only(self, names: Collection[str]) -> None:
        """Delete every blob, withheld or not, whose file name is not among ``names``."""
        self._private.keep_only(names)
        super().keep_only(names)

    def sync(self) -> None:
        """Wait until everything queued is on the disk."""
        self._private.sync()
        super().sync()

    def close(self) -> None:
        """Finish writing and stop the threads."""
        self._private.close()
        super().close()


class InsistentLedger(ChainLedger):
    """A coordinator's ledger that also tries what the contract refuses, and notes the refusal.

    Parameters
    ----------
    patient
        Sends what an honest coordinator sends, when it may.
    attempts
        Where refusals are noted, one a round; a round noted is not tried again.
    """

    def __init__(
        self,
        federation: Federation,
        account: LocalAccount,
        patient: ChainLedger,
        attacker: Attacker,
        attempts: FileJournal,
        next_time: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(federation, account, next_time=next_time)
        self._patient, self._attacker, self._attempts = patient, attacker, attempts

    def seal_round(self, round_id: RoundId, seal: Seal) -> None:
        """Seal as an honest coordinator would, and besides too early, or a second time."""
        attack = self._attacker.attack(round_id)

        def insist(other: Seal) -> None:
            super(InsistentLedger, self).seal_round(round_id, other)

        if isinstance(attack, SealEarlyAttack):
            self._try(attack, lambda: insist(seal))
        self._patient.seal_round(round_id, seal)
        if isinstance(attack, SealTwiceAttack):
            changed = replace(seal, new_model_root=self.round(round_id).model_root)
            self._try(attack, lambda: insist(changed))

    def _try(self, attack: AttackConfig, attempt: Callable[[], None]) -> None:
        round_id = RoundId(attack.round)
        try:
            self._attempts.get(round_id)
            return
        except BlobMissingError:
            pass
        try:
            attempt()
        except TransactionRevertedError as refused:
            note = {"round": attack.round, "attack": attack.kind, "refused": refused.reason}
            self._attempts.put(round_id, note)
            return
        raise ConfigError(
            f"coordinator_attacks: the contract let {attack.kind} of round {attack.round} pass; "
            "does chain.min_open_s leave room for it?"
        )
