"""Checks and keeps the submissions of the open round.

Not handled: their effect on the round (``protocol.round.machine``), and storing them durably.
"""

from collections.abc import Mapping

from coordinator.protocol.errors import ContributorError, MalformedUpdateError
from coordinator.protocol.round.machine import Phase, RoundState
from coordinator.protocol.round.screening import (
    RoundContext,
    Verdict,
    check_opening,
    early_update,
    late_commitment,
    screen_commitment,
    screen_envelope,
    screen_range,
    screen_vector,
)
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    Signed,
    UpdateMessage,
)


class Collection:
    """One round's updates as they arrive; vectors are kept, not copied.

    Attributes
    ----------
    vectors, metrics, salts
        By accepted contributor; salts in a sealed round only.
    """

    def __init__(self, context: RoundContext, base_model: Int32Vector) -> None:
        self.context = context
        self.vectors: dict[Address, Int32Vector] = {}
        self.metrics: dict[Address, JsonObject] = {}
        self.salts: dict[Address, bytes] = {}
        self._base_model = base_model
        self._unopened: dict[Address, Signed[UpdateMessage]] = {}

    def screen_commitment(self, signed: Signed[Commitment], state: RoundState) -> Verdict:
        """Check a commitment of a sealed round.

        Raises
        ------
        ContributorError
            ``late-commitment``, or any of ``screening.screen_commitment``.
        """
        if state.phase is Phase.COLLECTING:
            raise late_commitment(signed.signer, state.round_id)
        verdict = screen_commitment(signed, self.context, state.commitments)
        if signed.signer in state.conflicted:
            raise MalformedUpdateError(
                f"commitment of {signed.signer}: it signed two different commitments for round "
                f"{state.round_id} and takes no further part in it",
                code="conflicting-commitment",
                contributor=signed.signer,
                round_id=state.round_id,
            )
        return verdict

    def screen(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None,
        state: RoundState,
    ) -> Verdict:
        """Check one update, the cheapest checks first.

        Raises
        ------
        ContributorError
            If the update is wrong; an ``EquivocationError`` has both statements.
        """
        if state.phase is Phase.GATHERING:
            raise early_update(signed.signer, state.round_id)
        known: Mapping[Address, Signed[UpdateMessage]] = state.accepted
        if self._unopened:  # an update that opened no commitment was signed too: it counts here
            known = {**self._unopened, **state.accepted}
        verdict = screen_envelope(signed, vector.nbytes, self.context, known, metrics=metrics)
        if verdict == "duplicate" and signed.signer in state.accepted:
            return verdict
        _check_not_equivocator(signed, state)
        if state.sealed:
            self._check_opening(signed, salt, state)
        screen_vector(vector, signed, self.context)
        screen_range(vector, self._base_model, signed)
        return "new"

    def keep(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None,
    ) -> None:
        """Keep an update that passed the checks."""
        self.vectors[signed.signer] = vector
        self.metrics[signed.signer] = metrics
        if salt is not None:
            self.salts[signed.signer] = salt

    def drop(self, contributor: Address) -> None:
        """Discard a contributor's update."""
        for kept in (self.vectors, self.metrics, self.salts):
            kept.pop(contributor, None)

    def _check_opening(
        self, signed: Signed[UpdateMessage], salt: bytes | None, state: RoundState
    ) -> None:
        try:
            check_opening(signed, salt, self.context.domain, state.commitments)
        except ContributorError:
            self._unopened.setdefault(signed.signer, signed)
            raise


def _check_not_equivocator(signed: Signed[UpdateMessage], state: RoundState) -> None:
    if signed.signer in state.equivocators:
        raise MalformedUpdateError(
            f"update of {signed.signer}: it signed two different updates for round "
            f"{state.round_id} and takes no further part in it",
            code="equivocator",
            contributor=signed.signer,
            round_id=state.round_id,
        )
