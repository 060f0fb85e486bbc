# pragma version 0.4.3
"""
@title Rewards
@license Apache-2.0
@notice The reward pool, the reserve that finalised rounds have moved out of it, and claims.
@dev Leaves are cumulative: (address, all ever earned in wei), one tree per round, and only the
     tree of the last FINAL round is paid from. So one proof collects any number of rounds.
"""

from . import merkle
from . import payments

# Ether was added to the reward pool; ``pool`` is the pool after it.
event PoolFunded:
    sender: indexed(address)
    amount: uint256
    pool: uint256

# Rewards were paid out, up to ``cumulative`` over all time.
event Claimed:
    account: indexed(address)
    cumulative: uint256
    amount: uint256


pool: uint256
reserve: uint256  # finalised and not claimed yet
final_root: bytes32  # rewards root of the last FINAL round
_claimed: HashMap[address, uint256]


@internal
def _release(amount: uint256, root: bytes32):
    self.final_root = root
    if amount > 0:
        self.pool -= amount
        self.reserve += amount


@external
@payable
@nonreentrant
def fund():
    """
    @notice Add the ether sent to the reward pool. It can only leave as rewards.
    @dev Anyone. Reverts "pool: nothing sent". Emits PoolFunded.
    """
    assert msg.value > 0, "pool: nothing sent"
    self.pool += msg.value
    log PoolFunded(sender=msg.sender, amount=msg.value, pool=self.pool)


@external
@nonreentrant
def claim(cumulative: uint256, proof: DynArray[bytes32, merkle.MAX_DEPTH]):
    """
    @notice Pay the caller what it has earned in FINAL rounds and not claimed yet.
    @param cumulative All the caller has ever earned, in wei, as in its leaf.
    @param proof Siblings of the leaf (caller, cumulative), from the bottom, in the rewards tree of
           the last FINAL round.
    @dev Anyone with a leaf. Reverts "claim: bad proof", "claim: nothing due",
         "claim: exceeds reserve", "pay: refused". Emits Claimed.
    """
    leaf: bytes32 = merkle._leaf(abi_encode(msg.sender, cumulative))
    assert merkle._includes(self.final_root, leaf, proof), "claim: bad proof"
    claimed: uint256 = self._claimed[msg.sender]
    assert cumulative > claimed, "claim: nothing due"
    amount: uint256 = cumulative - claimed
    # A wrong tree that nobody challenged cannot reach bonds, bounties or the pool.
    assert amount <= self.reserve, "claim: exceeds reserve"
    self._claimed[msg.sender] = cumulative
    self.reserve -= amount
    log Claimed(account=msg.sender, cumulative=cumulative, amount=amount)
    payments._pay(msg.sender, amount)
