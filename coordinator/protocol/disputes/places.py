"""Where a member's leaf must be in a rewards tree.

Pairs are sorted before they are hashed, so a proof does not say whether a leaf is left or right;
its length says how deep it is. If each member's leaf is as deep as its place in the order of
joining says, the tree is full (L. G. Kraft's inequality, 1949): there is no leaf that nobody saw.
"""

from coordinator.protocol.commitments.standard_tree import depth_of
from coordinator.protocol.disputes.records import DisputedRound


def reward_positions(round_: DisputedRound) -> dict[int, int]:
    """Return where the leaves are that are as deep as they must be, by number of member (from 1).

    A member that is missing has none: the coordinator cannot answer when it is asked for it.
    """
    count, leaves = round_.committed.member_count, round_.known_rewards
    numbers = {member: number for number, member in enumerate(round_.members[:count], 1)}
    found: dict[int, int] = {}
    for at, leaf in enumerate(leaves):
        number = numbers.get(leaf.contributor)
        if number and depth_of(at, len(leaves)) == depth_of(number - 1, count):
            found.setdefault(number, at)
    return found
