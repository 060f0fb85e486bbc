"""Which artifacts the world may read, and when: decided by what the chain has committed to.

Nothing is served because it lies in the folder. A model is public once a round opened on it or
sealed it, a document once its root is on chain, an update once the round that accepted it is
sealed; drafts, refused updates, evidence and notes never. Rounds that a proven fraud voids stay
readable: their updates were public, and the proof rests on them.

Not handled: a node that takes back blocks it has shown. What was public once may stay so.
"""

import logging
import threading
from collections.abc import Iterable
from typing import Final, Literal

from contracts.events import RoundOpened, RoundSealed, RoundSettled, UpdatesCommitted
from contracts.reader import FederationReader
from coordinator.core.documents import contributor_entries
from coordinator.core.errors import StoreError
from coordinator.ports import ArtifactStore
from coordinator.settings.agreement import FederationAgreement

Audience = Literal["everybody", "members"]
"""Who may read a blob once it is public: ``members`` only where the agreement says so."""

VECTOR: Final = "safetensors"
BYTES: Final = "bin"
SUFFIXES: Final = frozenset(
    {VECTOR, BYTES} | {f"{kind}.json" for kind in ("contributors", "scores", "rewards", "rule")}
) | {"commitments.json"}
_LOGGER = logging.getLogger(__name__)


class Publication:
    """Follows one federation's events and answers who may read a blob; safe to share.

    Parameters
    ----------
    federation
        The contract.
    store
        Where contributors documents are, which name a round's updates.
    agreement
        What was public before the first round: initial model, rule, manifest, scoring.
    """

    def __init__(
        self,
        federation: FederationReader,
        store: ArtifactStore,
        agreement: FederationAgreement,
    ) -> None:
        self._federation = federation
        self._store = store
        self._lock = threading.Lock()
        self._next_block = 0
        self._unread: list[bytes] = []  # contributors roots whose documents are still to be read
        self._updates: set[bytes] = set()
        self._open: set[tuple[bytes, str]] = set(_announced(agreement))
        self._of_updates: Audience = "members" if agreement.access == "members" else "everybody"

    def audience(self, name: bytes, suffix: str) -> Audience | None:
        """Return who may read a blob now, ``None`` for nobody.

        Raises
        ------
        ChainUnavailableError
            If the node must be asked and does not answer.
        """
        found = self._known(name, suffix)
        if found is None and suffix in SUFFIXES:
            self._follow()
            found = self._known(name, suffix)
        return found

    def _known(self, name: bytes, suffix: str) -> Audience | None:
        if (name, suffix) in self._open:
            return "everybody"
        return self._of_updates if suffix == VECTOR and name in self._updates else None

    def _follow(self) -> None:
        """Read the chain's events since the last look."""
        with self._lock:
            head = self._federation.block().number
            if head < self._next_block and not self._unread:
                return
            for event in self._federation.events(self._next_block, head):
                match event:
                    case RoundOpened():
                        self._open.add((event.model_root, VECTOR))
                        self._open.add((event.rule_hash, "rule.json"))
                    case UpdatesCommitted():
                        self._open.add((event.commitments_root, "commitments.json"))
                    case RoundSealed():
                        self._open.add((event.new_model_root, VECTOR))
                        self._open.add((event.contributors_root, "contributors.json"))
                        self._unread.append(event.contributors_root)
                    case RoundSettled():
                        self._open.add((event.scores_root, "scores.json"))
                        self._open.add((event.rewards_root, "rewards.json"))
                    case _:
                        pass
            self._next_block = head + 1
            self._unread = [root for root in self._unread if not self._publish_updates(root)]

    def _publish_updates(self, contributors_root: bytes) -> bool:
        """Make a sealed round's updates public; false if its document cannot be read now."""
        try:
            document = self._store.get_document("contributors", contributors_root)
        except StoreError as error:
            _LOGGER.warning("updates stay unpublished: %s", error)
            return False
        self._updates.update(entry.leaf.update_root for entry in contributor_entries(document))
        return True


def _announced(agreement: FederationAgreement) -> Iterable[tuple[bytes, str]]:
    rule = agreement.core_rule
    yield bytes.fromhex(agreement.initial_model_root), VECTOR
    yield agreement.rule_hash, "rule.json"
    yield rule.manifest_hash, BYTES
    yield rule.scoring_hash, BYTES
    evaluation = agreement.scoring.get("evaluation")
    if isinstance(evaluation, str):
        yield bytes.fromhex(evaluation), BYTES
