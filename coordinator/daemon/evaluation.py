"""Decides when the participants evaluate a model, and keeps what they say of it.

The service's side. What comes from a node is a claim and is checked as such; a wrong, impossible or
missing answer is counted, and changes nothing for the others. Whoever did not answer is left out of
the next evaluations, twice as many each time, so that a silent node soon costs the rounds no time.
Not handled: asking the nodes (``coordinator.flower.evaluation``).
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from coordinator.local.logs import fields
from coordinator.ports import ArtifactStore, Ledger, RoundAnnouncement
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.errors import ContributorError, FedproofError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.round.evaluation import (
    ACCURACY,
    LOSS,
    Claim,
    PublicResult,
    evaluation_document,
    is_code,
    read_claim,
    summarise,
)
from coordinator.protocol.round.feed import RoundEvaluated, RoundFeed
from coordinator.protocol.types import Address, Int32Vector, JsonObject, RoundId, Rule
from coordinator.service.public_evaluation import PublicSet
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.evaluation import Evaluation
from coordinator.stores.evaluations import EvaluationFolder

NO_REPLY: Final = "no-reply"
_ATTEMPTS: Final = 2
"""How often one round's evaluation is begun: a ServerApp that ends in one must not end in all."""
_MOST_LEFT_OUT: Final = 63
_PUBLIC_S: Final = 120.0
"""Seconds that the public set may take longer than the participants do."""
_MOST_TEXT: Final = 300
_log = logging.getLogger("fedproof.coordinator")


class HasModel(Protocol):
    """The part of a round service that an evaluation needs."""

    def next_model(self) -> tuple[Manifest, bytes]:
        """Return layout and root of the model that the next round opens on."""

    def model(self) -> Int32Vector:
        """Return that model, shape ``(d,)``, fixed point."""


@dataclass
class _Hand:
    """The evaluation in hand."""

    round_id: RoundId
    model_root: bytes
    asked: Mapping[int, Address]
    work: "_PublicWork | None" = None
    claims: dict[Address, Claim] = field(default_factory=dict)
    refused: dict[Address, tuple[str, str]] = field(default_factory=dict)


class Measures(Protocol):
    """Evaluates a model on the agreed public set."""

    def measure(self, model: Int32Vector) -> PublicResult:
        """Evaluate a model of shape ``(d,)``."""


class _PublicWork:
    """The public set's evaluation of one model, in a thread while participants are waited for."""

    def __init__(self, public: Measures, model: Int32Vector) -> None:
        self._result: PublicResult | None = None
        self._thread = threading.Thread(
            target=self._run, args=(public, model), name="fedproof-evaluation", daemon=True
        )
        self._thread.start()

    def _run(self, public: Measures, model: Int32Vector) -> None:
        try:
            self._result = public.measure(model)
        except Exception:  # nothing that is only shown may end a round
            _log.exception("the public set was not evaluated: a defect")

    def wait(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def result(self) -> PublicResult | None:
        """The result; ``None`` if it is not there yet, or failed."""
        return self._result


class ParticipantsEvaluation:
    """Takes the participants' evaluations, one round at a time.

    Not thread-safe: called under the rounds' lock only, but for :meth:`wait`.

    Parameters
    ----------
    evaluation, rule
        What is agreed on.
    present
        Returns the bonded contributors that are connected, by node.
    is_complete
        Returns whether the last round is sealed.
    count
        Told of each answer: ``"accepted"``, ``"refused"`` or ``"no-reply"``.
    feed
        Gets the means of each evaluation.
    public
        Evaluates on the public set, if one is agreed on.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        rule: Rule,
        ledger: Ledger,
        rounds: HasModel,
        folder: EvaluationFolder,
        present: Callable[[], Mapping[int, Address]],
        is_complete: Callable[[], bool],
        count: Callable[[str], None],
        feed: RoundFeed,
        public: Measures | None = None,
    ) -> None:
        self._evaluation, self._rule = evaluation, rule
        self._ledger, self._rounds, self._folder = ledger, rounds, folder
        self._present, self._is_complete = present, is_complete
        self._count, self._feed, self._public = count, feed, public
        self._hand: _Hand | None = None
        self._begun: tuple[RoundId, int] = (RoundId(0), 0)
        self._silences: dict[Address, int] = {}
        self._left_out: dict[Address, int] = {}

    @classmethod
    def of_federation(
        cls,
        agreement: FederationAgreement,
        ledger: Ledger,
        rounds: HasModel,
        store: ArtifactStore,
        folder: EvaluationFolder,
        present: Callable[[], Mapping[int, Address]],
        is_complete: Callable[[], bool],
        count: Callable[[str], None],
        feed: RoundFeed,
    ) -> "ParticipantsEvaluation | None":
        """Return what takes a federation's evaluations; ``None`` if none are agreed on.

        Raises
        ------
        ConfigError, StoreError
            If the agreed public set is not in the store, or cannot be used.
        """
        if agreement.evaluation is None:
            return None
        return cls(
            agreement.evaluation,
            agreement.core_rule,
            ledger,
            rounds,
            folder,
            present,
            is_complete,
            count,
            feed,
            PublicSet.agreed(agreement, store),
        )

    def begin(self) -> tuple[RoundAnnouncement, Sequence[int]] | None:
        """Return the last sealed round's model and the nodes to ask; ``None`` if none is due."""
        self._hand = None
        head = self._ledger.head()
        round_id = head.last_sealed
        if self._is_open(head.last_opened) or not self._is_due(round_id):
            return None
        asked = self._cohort()
        if not asked:
            return None
        last, attempts = self._begun
        self._begun = (round_id, attempts + 1 if last == round_id else 1)
        if self._begun[1] > _ATTEMPTS:
            return None
        manifest, root = self._rounds.next_model()
        model = self._rounds.model()
        work = None if self._public is None else _PublicWork(self._public, model)
        self._hand = _Hand(round_id, root, asked, work)
        announcement = RoundAnnouncement(
            round_id=round_id,
            model=model,
            model_root=root,
            manifest=manifest,
            domain=self._ledger.domain(),
            rule_hash=rule_hash(self._rule),
            deadline=0,
        )
        return announcement, sorted(asked)

    def take(self, node: int, metrics: JsonObject) -> None:
        """Take what a node says; a wrong answer is noted, and raises nothing."""
        try:
            claim = read_claim(metrics)
        except ContributorError as error:
            self.refuse(node, error.code, str(error))
            return
        address = self._not_heard(node)
        if address is not None and self._hand is not None:
            self._hand.claims[address] = claim
            self._silences.pop(address, None)
            self._count("accepted")

    def refuse(self, node: int, code: str, message: str) -> None:
        """Note why a node's answer does not count."""
        address = self._not_heard(node)
        if address is None or self._hand is None:
            return
        shown = "".join(c if c.isprintable() else " " for c in message)[:_MOST_TEXT]
        code = code if is_code(code) else "client-error"
        self._hand.refused[address] = (code, shown)
        self._count(NO_REPLY if code == NO_REPLY else "refused")
        if code == NO_REPLY:
            silences = self._silences[address] = self._silences.get(address, 0) + 1
            self._left_out[address] = min(2**silences - 1, _MOST_LEFT_OUT)
        else:
            self._silences.pop(address, None)
        _log.warning(
            "an evaluation does not count",
            extra=fields(round=int(self._hand.round_id), contributor=address, code=code, why=shown),
        )

    def wait(self) -> None:
        """Return once the public set is evaluated, or has taken too long."""
        hand = self._hand
        if hand is not None and hand.work is not None:
            hand.work.wait(_PUBLIC_S)

    def end(self) -> None:
        """Keep and publish what was said; a full disk keeps it from being kept, and no more."""
        hand, self._hand = self._hand, None
        if hand is None:
            return
        codes = [code for code, _ in hand.refused.values()]
        cap = self._rule.examples_cap
        public = None if hand.work is None else hand.work.result
        summary = summarise(hand.round_id, hand.model_root, hand.claims, codes, cap, public)
        document = evaluation_document(summary, hand.claims, hand.refused)
        try:
            self._folder.put(summary, document)
        except FedproofError as error:
            _log.error("the evaluation of round %d is not kept: %s", hand.round_id, error)
        means: dict[str, float | None] = {n: spread.mean for n, spread in summary.metrics.items()}
        if public is not None:
            means |= {f"public.{ACCURACY}": public.accuracy, f"public.{LOSS}": public.loss}
        self._feed.publish(hand.round_id, RoundEvaluated(means))
        _log.info(
            "round evaluated",
            extra=fields(
                round=int(hand.round_id),
                answered=summary.answered,
                asked=summary.asked,
                accuracy=_rounded(summary.mean(ACCURACY)),
                loss=_rounded(summary.mean(LOSS)),
                **({} if public is None else {"public": _rounded(public.accuracy)}),
            ),
        )

    # --- whom and when ---------------------------------------------------------------------------

    def _is_open(self, round_id: RoundId) -> bool:
        return self._ledger.round(round_id).status is RoundStatus.OPEN

    def _is_due(self, round_id: RoundId) -> bool:
        height = self._ledger.round(round_id).height if round_id else 0
        if not self._evaluation.is_due(height, is_last=self._is_complete()):
            return False
        newest = self._folder.newest
        return newest is None or newest.round_id != round_id

    def _cohort(self) -> dict[int, Address]:
        """Return whom to ask: one node of each account, but for those who are left out."""
        asked: dict[int, Address] = {}
        for node, address in sorted(self._present().items()):
            if address in asked.values():
                continue
            left = self._left_out.get(address, 0)
            if left:
                self._left_out[address] = left - 1
            else:
                asked[node] = address
        return asked

    def _not_heard(self, node: int) -> Address | None:
        """Return the account of a node that was asked and has not been heard, else ``None``."""
        hand = self._hand
        address = None if hand is None else hand.asked.get(node)
        if hand is None or address is None or address in hand.claims or address in hand.refused:
            return None
        return address


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
