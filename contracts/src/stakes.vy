# pragma version 0.4.3
"""
@title Stakes
@license Apache-2.0
@notice Bonds of the contributors and of the coordinator, their history by round, unbonding,
        slashing, and the bounties that slashes earn.
@dev The history is numbered by rounds, so this module also owns the counter of opened rounds.
     A checkpoint (r, bond) says: rounds r and later opened on this bond, until the next one.
"""

from . import payments
from . import agreement

uses: agreement

# A member bonded ``amount``; ``index`` is its member number from 1.
event Joined:
    account: indexed(address)
    index: uint256
    amount: uint256
    bond: uint256

# A member, or the coordinator, moved its whole bond to unbonding.
event Left:
    account: indexed(address)
    amount: uint256
    unbonding: uint256
    matures_at: uint256

# All of an account's unbonded funds were paid out.
event Withdrawn:
    account: indexed(address)
    amount: uint256

# The coordinator added to its bond.
event CoordinatorBonded:
    account: indexed(address)
    amount: uint256
    bond: uint256

# ``amount`` was cut: ``bounty`` credited to the prover, the rest burned.
# ``bond`` and ``unbonding`` are what is left to the account. ``offence`` is zero-padded ASCII.
event Slashed:
    account: indexed(address)
    round: indexed(uint256)
    prover: indexed(address)
    offence: bytes32
    amount: uint256
    bounty: uint256
    bond: uint256
    unbonding: uint256

# Bounties were paid out.
event Collected:
    account: indexed(address)
    amount: uint256


struct Holding:
    account: address
    bond: uint256


PAGE: constant(uint256) = 256  # members in one page of the roster
AMOUNT_BITS: constant(uint256) = 128
AMOUNT_MASK: constant(uint256) = 2**128 - 1
COUNT_BITS: constant(uint256) = 128
COUNT_MASK: constant(uint256) = 2**128 - 1

last_opened: uint256  # number of the last round ever opened, 0 before the first
member_count: uint256
_members: HashMap[uint256, address]  # from 1
# index of the member (high half, 0 for none) | number of checkpoints (low half)
_place: HashMap[address, uint256]
# from_round (high half) | bond (low half); the last one is the bond now
_history: HashMap[address, HashMap[uint256, uint256]]
_unbonding: HashMap[address, uint256]
_matures_at: HashMap[address, uint256]
_credit: HashMap[address, uint256]


# --- bonds -----------------------------------------------------------------------------------


@internal
@view
def _bond_of(account: address) -> uint256:
    count: uint256 = self._place[account] & COUNT_MASK
    if count == 0:
        return 0
    return self._history[account][count - 1] & AMOUNT_MASK


@internal
def _set_bond(account: address, bond: uint256):
    place: uint256 = self._place[account]
    count: uint256 = place & COUNT_MASK
    next_round: uint256 = self.last_opened + 1
    if count > 0 and self._history[account][count - 1] >> AMOUNT_BITS == next_round:
        count -= 1
    else:
        self._place[account] = place + 1
    self._history[account][count] = (next_round << AMOUNT_BITS) | bond


@internal
def _add_bond(account: address, amount: uint256, minimum: uint256) -> uint256:
    assert amount > 0, "stake: nothing sent"
    bond: uint256 = self._bond_of(account) + amount
    assert bond >= minimum, "stake: below minimum"
    assert bond <= agreement.MAX_AMOUNT, "stake: too large"
    self._set_bond(account, bond)
    return bond


@internal
def _unbond(account: address):
    bond: uint256 = self._bond_of(account)
    assert bond > 0, "stake: nothing bonded"
    unbonding: uint256 = self._unbonding[account] + bond
    matures_at: uint256 = block.timestamp + agreement.TERMS.unbonding_period
    self._set_bond(account, 0)
    self._unbonding[account] = unbonding
    self._matures_at[account] = matures_at
    log Left(account=account, amount=bond, unbonding=unbonding, matures_at=matures_at)


@internal
def _slash(account: address, bps: uint256, round: uint256, prover: address, offence: bytes32):
    bond: uint256 = self._bond_of(account)
    unbonding: uint256 = self._unbonding[account]
    amount: uint256 = (bond + unbonding) * bps // agreement.BASIS_POINTS
    from_bond: uint256 = min(amount, bond)
    if from_bond > 0:
        bond -= from_bond
        self._set_bond(account, bond)
    if amount > from_bond:
        unbonding -= amount - from_bond
        self._unbonding[account] = unbonding
    bounty: uint256 = amount // 2
    if bounty > 0:
        self._credit[prover] += bounty
    log Slashed(
        account=account,
        round=round,
        prover=prover,
        offence=offence,
        amount=amount,
        bounty=bounty,
        bond=bond,
        unbonding=unbonding,
    )
    payments._burn(amount - bounty)


@internal
@view
def _find_bond(account: address, round: uint256) -> uint256:
    low: uint256 = 0  # checkpoints before low hold for the round or an earlier one
    high: uint256 = self._place[account] & COUNT_MASK
    for _: uint256 in range(128):
        if low == high:
            break
        middle: uint256 = (low + high) // 2
        if self._history[account][middle] >> AMOUNT_BITS <= round:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return 0
    return self._history[account][low - 1] & AMOUNT_MASK


# --- calls -----------------------------------------------------------------------------------


@external
@payable
@nonreentrant
def join():
    """
    @notice Bond the ether sent, on top of what the caller has bonded already. Registers the
            caller as a member the first time. Counts from the next round to open.
    @dev Anyone but the coordinator. Reverts "role: is coordinator", "stake: nothing sent",
         "stake: below minimum", "stake: too large". Emits Joined.
    """
    assert msg.sender != agreement.TERMS.coordinator, "role: is coordinator"
    index: uint256 = self._place[msg.sender] >> COUNT_BITS
    if index == 0:
        index = self.member_count + 1
        self.member_count = index
        self._members[index] = msg.sender
        self._place[msg.sender] = index << COUNT_BITS
    bond: uint256 = self._add_bond(msg.sender, msg.value, agreement.TERMS.min_stake)
    log Joined(account=msg.sender, index=index, amount=msg.value, bond=bond)


@external
@nonreentrant
def leave():
    """
    @notice Start unbonding the caller's whole bond. It stays slashable until withdrawn; a second
            leave before withdrawal starts the clock of everything again.
    @dev Any member. Reverts "role: is coordinator", "stake: nothing bonded". Emits Left.
    """
    assert msg.sender != agreement.TERMS.coordinator, "role: is coordinator"
    self._unbond(msg.sender)


@external
@nonreentrant
def withdraw():
    """
    @notice Pay out the caller's unbonded funds, from the second at which they mature.
    @dev Anyone with unbonding funds, the coordinator too. Reverts "stake: nothing unbonding",
         "stake: still unbonding", "pay: refused". Emits Withdrawn.
    """
    amount: uint256 = self._unbonding[msg.sender]
    assert amount > 0, "stake: nothing unbonding"
    assert block.timestamp >= self._matures_at[msg.sender], "stake: still unbonding"
    self._unbonding[msg.sender] = 0
    self._matures_at[msg.sender] = 0
    log Withdrawn(account=msg.sender, amount=amount)
    payments._pay(msg.sender, amount)


@external
@payable
@nonreentrant
def bond_coordinator():
    """
    @notice Add the ether sent to the coordinator's bond.
    @dev Coordinator only. Reverts "role: not coordinator", "stake: nothing sent",
         "stake: below minimum", "stake: too large". Emits CoordinatorBonded.
    """
    agreement._only_coordinator()
    bond: uint256 = self._add_bond(msg.sender, msg.value, agreement.TERMS.min_coordinator_bond)
    log CoordinatorBonded(account=msg.sender, amount=msg.value, bond=bond)


@external
@nonreentrant
def collect():
    """
    @notice Pay out the bounties credited to the caller for proving offences.
    @dev Anyone with a credit. Reverts "collect: nothing due", "pay: refused". Emits Collected.
    """
    amount: uint256 = self._credit[msg.sender]
    assert amount > 0, "collect: nothing due"
    self._credit[msg.sender] = 0
    log Collected(account=msg.sender, amount=amount)
    payments._pay(msg.sender, amount)


# --- views -----------------------------------------------------------------------------------


@external
@view
def member(index: uint256) -> address:
    """
    @notice The member registered under an index, from 1; the zero address if there is none.
            Anyone may call; never reverts.
    """
    return self._members[index]


@external
@view
def member_index(account: address) -> uint256:
    """
    @notice The index, from 1, an account was registered under; 0 if it never joined. A member of
            round r is one whose index is at most the member_count of r. Never reverts.
    """
    return self._place[account] >> COUNT_BITS


@external
@view
def checkpoint_count(account: address) -> uint256:
    """
    @notice The number of checkpoints in an account's bond history. Never reverts.
    """
    return self._place[account] & COUNT_MASK


@external
@view
def checkpoint(account: address, index: uint256) -> (uint256, uint256):
    """
    @notice One checkpoint, from 0: the first round it holds for, and the bond. Zeros past the
            end. Never reverts.
    """
    word: uint256 = self._history[account][index]
    return word >> AMOUNT_BITS, word & AMOUNT_MASK


@external
@view
def bond_at(account: address, round: uint256, index: uint256) -> uint256:
    """
    @notice The bond an account had when a round opened, looked up at a checkpoint the caller
            names. Constant gas.
    @dev Anyone. Reverts "stake: round not opened" and, unless the checkpoint is the one that
         holds for the round, "stake: wrong checkpoint". An account without a checkpoint for the
         round had no bond: use find_bond.
    """
    assert round <= self.last_opened, "stake: round not opened"
    word: uint256 = self._history[account][index]
    assert word != 0 and word >> AMOUNT_BITS <= round, "stake: wrong checkpoint"
    following: uint256 = self._history[account][index + 1]
    assert following == 0 or following >> AMOUNT_BITS > round, "stake: wrong checkpoint"
    return word & AMOUNT_MASK


@external
@view
def find_bond(account: address, round: uint256) -> uint256:
    """
    @notice The bond an account had when a round opened, by binary search of its history.
    @dev Anyone. Reverts "stake: round not opened".
    """
    assert round <= self.last_opened, "stake: round not opened"
    return self._find_bond(account, round)


@external
@view
def roster(first: uint256, round: uint256) -> DynArray[Holding, PAGE]:
    """
    @notice Members from an index on, at most PAGE of them in order of joining, each with its bond
            when a round opened; for a round that has not opened, its bond now.
    @dev Anyone; never reverts. Empty past the last member.
    """
    page: DynArray[Holding, PAGE] = []
    for i: uint256 in range(PAGE):
        # Checked before adding, so that no index overflows.
        if first > self.member_count or first + i > self.member_count:
            break
        who: address = self._members[first + i]
        page.append(Holding(account=who, bond=self._find_bond(who, round)))
    return page
