"""Find updates that repeat what was already public, or each other.

Public are the updates and the step of the round before, and the model itself: scaling it up makes
it more confident without anything learned. The comparison is of directions, ``<u, v> >= c * |u| *
|v|``, decided exactly by comparing squares of integers, so that scaling an update does not hide
where it comes from.

Not handled: a copy with much noise added (a fifth of its length puts it under 0.98), a mixture of
several updates, one layer of the model scaled. Honest updates of a small model on similar data come
as close (0.97 was measured), so no threshold tells them apart.
"""

from collections.abc import Sequence

from coordinator.protocol.scores.exact_dot import inner_products
from coordinator.protocol.scores.scoring_round import ScoringRound
from coordinator.protocol.types import Int32Vector


def copied(scored: ScoringRound, *, previous_permille: int, same_round_permille: int) -> list[bool]:
    """Tell for each update whether its direction is not its contributor's own.

    It is not if its cosine reaches ``previous_permille`` / 1000 with an update that *another*
    contributor made in the round before, with the step that round took or with the model, or
    ``same_round_permille`` / 1000 with any other update of this round. Of equal updates in one
    round all are marked: which one was first is not known here (sealed uploads make the case
    impossible).

    Returns
    -------
    One flag for each contributor, in order. A zero update is nobody's copy.
    """
    references: list[Int32Vector] = [update for _, update in scored.previous]
    references.append(scored.base_model)
    owners: list[str | None] = [*(owner for owner, _ in scored.previous), None]
    if scored.previous_step is not None:
        references.append(scored.previous_step)
        owners.append(None)
    own = list(scored.updates)
    norms = _squared_norms(own)
    reference_norms = _squared_norms(references)
    products = inner_products(own, own + references)
    flags = []
    for i, contributor in enumerate(scored.contributors):
        same_round = any(
            _aligned(products[i][j], norms[i], norms[j], same_round_permille)
            for j in range(len(own))
            if j != i
        )
        before = any(
            _aligned(products[i][len(own) + j], norms[i], reference_norms[j], previous_permille)
            for j in range(len(references))
            if owners[j] != contributor
        )
        flags.append(same_round or before)
    return flags


def _squared_norms(vectors: Sequence[Int32Vector]) -> list[int]:
    return [inner_products([vector], [vector])[0][0] for vector in vectors]


def _aligned(product: int, norm: int, other_norm: int, permille: int) -> bool:
    return product > 0 and product**2 * 1_000_000 >= permille**2 * norm * other_norm
