# pragma version 0.4.3
"""
@title Evidence
@license Apache-2.0
@notice The EIP-712 message a contributor signs, and slashing for signing two different ones.
@dev The domain is computed at run time, so that a signature does not survive a fork of the chain.
"""

from . import stakes
from . import agreement

uses: agreement
uses: stakes


struct Update:
    round: uint64
    baseModel: bytes32
    update: bytes32
    examples: uint64
    metricsHash: bytes32


DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
NAME: constant(bytes32) = keccak256("Fedproof")
VERSION: constant(bytes32) = keccak256("1")
UPDATE_TYPE: constant(bytes32) = keccak256(
    "Update(uint64 round,bytes32 baseModel,bytes32 update,uint64 examples,bytes32 metricsHash)"
)
# Half the order of secp256k1: of s and its negative, only the lower is accepted.
MAX_S: constant(uint256) = (
    57896044618658097711785492504343953926418782139537452191302581570759080747168
)
# "equivocation", padded
EQUIVOCATION: constant(bytes32) = 0x65717569766f636174696f6e0000000000000000000000000000000000000000

_equivocated: HashMap[uint256, HashMap[address, bool]]


@internal
@view
def _domain_separator() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE, NAME, VERSION, chain.id, self))


@internal
@view
def _update_digest(update: Update) -> bytes32:
    hashed: bytes32 = keccak256(abi_encode(UPDATE_TYPE, update))
    return keccak256(concat(x"1901", self._domain_separator(), hashed))


@internal
@view
def _require_signed(signer: address, update: Update, signature: Bytes[65]):
    assert len(signature) == 65, "evidence: bad signature"
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    assert s <= MAX_S, "evidence: high s"
    assert v == 27 or v == 28, "evidence: bad signature"
    recovered: address = ecrecover(self._update_digest(update), v, r, s)
    # ecrecover gives the zero address for garbage; no member has that address.
    assert recovered == signer, "evidence: wrong signer"


@external
@nonreentrant
def slash_equivocation(
    contributor: address,
    first: Update,
    first_signature: Bytes[65],
    second: Update,
    second_signature: Bytes[65],
):
    """
    @notice Slash a member who signed two different updates for one round. Takes
            contributor_slash_bps of its bond and unbonding funds together; half is credited to the
            caller, the rest is burned.
    @dev Anyone, once a round and contributor, at any time while there is something at stake.
         Reverts "evidence: not a member", "evidence: different rounds", "evidence: no such round",
         "evidence: same update", "evidence: already slashed", "evidence: bad signature",
         "evidence: high s", "evidence: wrong signer", "evidence: nothing at stake". Emits Slashed.
    """
    assert stakes._place[contributor] >> stakes.COUNT_BITS != 0, "evidence: not a member"
    round: uint256 = convert(first.round, uint256)
    assert first.round == second.round, "evidence: different rounds"
    assert round > 0 and round <= stakes.last_opened, "evidence: no such round"
    assert first.update != second.update, "evidence: same update"
    assert not self._equivocated[round][contributor], "evidence: already slashed"
    self._require_signed(contributor, first, first_signature)
    self._require_signed(contributor, second, second_signature)
    # Evidence is not used up while there is nothing to take.
    at_stake: uint256 = stakes._bond_of(contributor) + stakes._unbonding[contributor]
    assert at_stake > 0, "evidence: nothing at stake"
    self._equivocated[round][contributor] = True
    stakes._slash(
        contributor, agreement.TERMS.contributor_slash_bps, round, msg.sender, EQUIVOCATION
    )


@external
@view
def domain_separator() -> bytes32:
    """
    @notice The EIP-712 domain separator of this contract on this chain. Never reverts.
    """
    return self._domain_separator()


@external
@view
def update_digest(update: Update) -> bytes32:
    """
    @notice The EIP-712 digest a contributor signs for an update. Never reverts.
    """
    return self._update_digest(update)


@external
@view
def is_slashed(round: uint256, contributor: address) -> bool:
    """
    @notice Whether a contributor was slashed for equivocating in a round. Never reverts.
    """
    return self._equivocated[round][contributor]
