# pragma version 0.4.3
# pragma evm-version prague
"""
@title Referee
@license Apache-2.0
@notice Convicts a federation's coordinator by proof alone. Anyone can prove fraud; nobody can choose
        what counts as proof: rule, leaves, totals and roots are those the federation holds.
@dev Two ways. A call of an examiner's challenge_* or prove_* function, made to this contract, is passed
     on as it is; the examiner returns a verdict or reverts. And cases: the coordinator must answer a
     question in time, with a column of running entries or with data it committed to, or is convicted.
     Deposits make questions cost something; they go back to whoever was right. Money leaves by
     collect alone. The round is held while a case runs, so no wait can outrun a proof.
"""

from .. import agreement
from .. import rounds
from . import facts

initializes: facts

# The coordinator was asked; it must answer before ``due``.
# ``kind`` is a number of ``CaseKind``.
event CaseOpened:
    id: indexed(uint256)
    round: indexed(uint256)
    challenger: indexed(address)
    kind: uint256
    index: uint256
    chunk: uint256
    due: uint256

# The coordinator answered with a column's root; it may be refuted before ``due``.
event ColumnAnswered:
    id: indexed(uint256)
    root: bytes32
    lo: int256
    hi: int256
    due: uint256

# An entry of an answered column was demanded; it must be published before ``due``.
event EntryDemanded:
    id: indexed(uint256)
    index: uint256
    due: uint256

# What was demanded was published: ``evidence`` is a call of an ``answer_*`` function.
# ``due`` is 0 where that ends the case. Anyone may answer, so ``evidence`` may be encoded in any
# way that the examiner's decoder accepts.
event Answered:
    id: indexed(uint256)
    evidence: Bytes[MAX_EVIDENCE]
    due: uint256

# A case ended and its deposits were credited.
event CaseClosed:
    id: indexed(uint256)
    paid_to: indexed(address)
    deposit: uint256

# Fraud was proven; ``id`` is the case, 0 for none.
# ``offence`` is zero-padded ASCII.
event Convicted:
    round: indexed(uint256)
    id: indexed(uint256)
    prover: indexed(address)
    offence: bytes32

# Deposits were paid out.
event Collected:
    account: indexed(address)
    amount: uint256


interface Examiner:
    def federation() -> address: view


struct Settings:
    federation: address
    aggregate_examiner: address
    record_examiner: address
    coordinator: address
    deposit: uint256
    answer_seconds: uint256
    challenge_window: uint256


# States of a case.
WAITING: constant(uint256) = 1  # for the coordinator, until due
ANSWERED: constant(uint256) = 2  # may be refuted, until due
CLOSED: constant(uint256) = 3

SEALED: constant(uint256) = 2
SETTLED: constant(uint256) = 3
VOID: constant(uint256) = 5

MAX_EVIDENCE: constant(uint256) = 12288
MAX_VERDICT: constant(uint256) = 256
# Enough to bisect the column of any round: weights sum to 2^24, so no useful n is larger.
MAX_DEMANDS: constant(uint256) = 32
# A flood of questions buys the coordinator time, up to four times the usual.
FLOOD: constant(uint256) = 64
MAX_STRETCH: constant(uint256) = 3

# "no answer", padded
NO_ANSWER: constant(bytes32) = (
    0x6e6f20616e737765720000000000000000000000000000000000000000000000
)
# "withheld data", padded
WITHHELD: constant(bytes32) = (
    0x7769746868656c64206461746100000000000000000000000000000000000000
)

AGGREGATES: immutable(address)
RECORDS: immutable(address)
COORDINATOR: immutable(address)
DEPOSIT: immutable(uint256)
ANSWER_SECONDS: immutable(uint256)
CHALLENGE_WINDOW: immutable(uint256)

case_count: public(uint256)
unanswered: public(uint256)  # cases that wait for the coordinator
locked: public(uint256)  # deposits of cases not closed
_cases: HashMap[uint256, facts.Case]
_credit: HashMap[address, uint256]


@deploy
def __init__(
    federation: address,
    aggregate_examiner: address,
    record_examiner: address,
    deposit: uint256,
    answer_seconds: uint256,
):
    """
    @notice Judge one federation. Fixed for good.
    @param deposit Wei that a question costs whoever was wrong: more than an answer's gas.
    @param answer_seconds How long the coordinator has to answer, and a challenger to refute.
    @dev Reverts "referee: no federation", "referee: other federation", "referee: no deposit",
         "referee: no time to answer", "referee: unbonding too short".
    """
    facts.__init__(federation)
    assert staticcall Examiner(aggregate_examiner).federation() == federation, (
        "referee: other federation"
    )
    assert staticcall Examiner(record_examiner).federation() == federation, (
        "referee: other federation"
    )
    terms: agreement.Terms = staticcall facts.FEDERATION.terms()
    assert deposit > 0, "referee: no deposit"
    assert answer_seconds > 0, "referee: no time to answer"
    # The longest hold: a stretched answer and the time to refute it.
    longest: uint256 = (MAX_STRETCH + 2) * answer_seconds
    assert longest <= terms.unbonding_period, "referee: unbonding too short"
    AGGREGATES = aggregate_examiner
    RECORDS = record_examiner
    COORDINATOR = terms.coordinator
    DEPOSIT = deposit
    ANSWER_SECONDS = answer_seconds
    CHALLENGE_WINDOW = terms.challenge_window


# --- time and money --------------------------------------------------------------------------


@internal
@view
def _answer_due() -> uint256:
    """
    @dev Whoever floods the coordinator with questions gives it longer to answer. The stretch is
         bounded, so that a coordinator who asks itself cannot keep others from asking.
    """
    pace: uint256 = max(1, ANSWER_SECONDS // FLOOD)
    stretch: uint256 = min(self.unanswered * pace, MAX_STRETCH * ANSWER_SECONDS)
    return block.timestamp + ANSWER_SECONDS + stretch


@internal
@view
def _is_convictable(round: uint256) -> bool:
    """
    @dev As the federation sees it: until a settled round's window and hold have passed.
    """
    status: uint256 = staticcall facts.FEDERATION.status(round)
    if status != SETTLED:
        return status == SEALED
    settlement: rounds.Settlement = staticcall facts.FEDERATION.settlement(round)
    end: uint256 = max(settlement.settled_at + CHALLENGE_WINDOW, settlement.held_until)
    return block.timestamp < end


@internal
def _hold(round: uint256, due: uint256):
    """
    @dev Until an answer that is given at the last moment can be refuted.
    """
    until: uint256 = due + ANSWER_SECONDS
    settlement: rounds.Settlement = staticcall facts.FEDERATION.settlement(round)
    if until > settlement.held_until:
        extcall facts.FEDERATION.hold_round(round, until)


@internal
def _close(id: uint256, paid_to: address):
    case: facts.Case = self._cases[id]
    if case.state == WAITING:
        self.unanswered -= 1
    self._cases[id].state = CLOSED
    self._cases[id].deposit = 0
    self.locked -= case.deposit
    self._credit[paid_to] += case.deposit
    log CaseClosed(id=id, paid_to=paid_to, deposit=case.deposit)


@internal
def _convict(id: uint256, round: uint256, prover: address, offence: bytes32):
    log Convicted(round=round, id=id, prover=prover, offence=offence)
    extcall facts.FEDERATION.convict_coordinator(round, prover, offence)


# --- proofs ----------------------------------------------------------------------------------


@external
@nonreentrant
def __default__():
    """
    @notice Pass a challenge_* or prove_* call on to the examiners, and convict if one finds fraud.
            The caller is credited with the bounty; in a case, whoever opened it.
    @dev Anyone. Reverts with the examiner's reason, "dispute: not a proof", "dispute: no such
         column", "dispute: too late to refute", or the federation's reason: "round: not live",
         "round: window closed". Emits Convicted, and CaseClosed in a case.
    """
    found: bool = False
    response: Bytes[MAX_VERDICT] = b""
    # An examiner without the function reverts without a reason.
    for examiner: address in [AGGREGATES, RECORDS]:
        found, response = raw_call(
            examiner,
            msg.data,
            max_outsize=MAX_VERDICT,
            is_static_call=True,
            revert_on_failure=False,
        )
        if found or len(response) > 0:
            break
    if not found:
        raw_revert(response)
    assert len(response) == 128, "dispute: not a proof"
    verdict: facts.Verdict = abi_decode(response, facts.Verdict)
    assert verdict.tag == facts.FRAUD, "dispute: not a proof"
    prover: address = msg.sender
    if verdict.case != 0:
        case: facts.Case = self._cases[verdict.case]
        answered: bool = case.root != empty(bytes32) and case.state != CLOSED
        assert answered, "dispute: no such column"
        in_time: bool = case.state == WAITING or block.timestamp < case.due
        assert in_time, "dispute: too late to refute"
        prover = case.challenger
        self._close(verdict.case, prover)
    self._convict(verdict.case, verdict.round, prover, verdict.offence)


# --- questions -------------------------------------------------------------------------------


@internal
@payable
def _open(round: uint256, kind: uint256, index: uint256, chunk: uint256) -> uint256:
    assert msg.value == DEPOSIT, "dispute: wrong deposit"
    status: uint256 = staticcall facts.FEDERATION.status(round)
    assert status == SEALED or status == SETTLED, "dispute: round not live"
    if status == SETTLED:
        # Answers may lead to new questions, but not for ever: a window's length after the window.
        settlement: rounds.Settlement = staticcall facts.FEDERATION.settlement(round)
        last: uint256 = settlement.settled_at + 2 * CHALLENGE_WINDOW
        in_time: bool = block.timestamp < last and self._is_convictable(round)
        assert in_time, "dispute: window closed"
    id: uint256 = self.case_count + 1
    due: uint256 = self._answer_due()
    self.case_count = id
    self.unanswered += 1
    self.locked += msg.value
    self._cases[id] = facts.Case(
        round=round,
        kind=kind,
        index=index,
        chunk=chunk,
        state=WAITING,
        due=due,
        challenger=msg.sender,
        deposit=msg.value,
        root=empty(bytes32),
        lo=0,
        hi=0,
        entry=0,
        demands=0,
    )
    log CaseOpened(
        id=id, round=round, challenger=msg.sender, kind=kind, index=index, chunk=chunk, due=due
    )
    self._hold(round, due)
    return id


@internal
@view
def _require_chunk(round: uint256, rule: facts.Rule, chunk: uint256):
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    facts._require_rule(opening, rule)
    # Whatever is demanded must fit a transaction, or an honest coordinator could not answer.
    answerable: bool = (
        rule.chunk_values > 0
        and rule.chunk_values <= facts.MAX_CHUNK_VALUES
        and rule.dimension <= facts.MAX_DIMENSION
    )
    assert answerable, "dispute: rule not provable"
    count: uint256 = (rule.dimension + rule.chunk_values - 1) // rule.chunk_values
    assert chunk < count, "dispute: index out of range"


@internal
@view
def _require_contributor(round: uint256, index: uint256):
    sealing: rounds.Sealing = staticcall facts.FEDERATION.sealing(round)
    assert index < sealing.n, "dispute: index out of range"


@external
@payable
@nonreentrant
def challenge_column(round: uint256, rule: facts.Rule, parameter: uint256) -> uint256:
    """
    @notice Oblige the coordinator to answer with the root of the column of one parameter: what its
            aggregation comes to before each contributor and after the last.
    @param rule The announced rule; must hash to the round's rule_hash.
    @return The number of the case.
    @dev Anyone, with the deposit, until the round's window has passed (once more as long while it is
         held). Reverts "dispute: wrong deposit", "dispute: round not live",
         "dispute: window closed", "dispute: wrong rule", "dispute: rule not provable",
         "dispute: index out of range". Emits CaseOpened.
    """
    assert rule.chunk_values > 0, "dispute: rule not provable"
    self._require_chunk(round, rule, parameter // rule.chunk_values)
    assert parameter < rule.dimension, "dispute: index out of range"
    provable: bool = facts._has_known_rule(rule) and rule.server_momentum_q16 == 0
    assert provable, "dispute: rule not provable"
    return self._open(round, facts.AGGREGATE, parameter, 0)


@external
@payable
@nonreentrant
def challenge_totals(round: uint256) -> uint256:
    """
    @notice Oblige the coordinator to answer with the column of weights, capped examples and stakes.
    @return The number of the case.
    @dev As challenge_column, and Reverts as it does. Emits CaseOpened.
    """
    return self._open(round, facts.TOTALS, 0, 0)


@external
@payable
@nonreentrant
def challenge_payments(round: uint256) -> uint256:
    """
    @notice Oblige the coordinator to answer with the column of scores and shares of the budget.
    @return The number of the case.
    @dev As challenge_column, of a settled round. Reverts "dispute: round not settled" besides.
         Emits CaseOpened.
    """
    facts._settled(round)
    return self._open(round, facts.PAYMENTS, 0, 0)


@external
@payable
@nonreentrant
def demand_record(round: uint256, kind: uint256, index: uint256) -> uint256:
    """
    @notice Oblige the coordinator to publish something it committed to: 4 the rule, 5 a contributor's
            leaf and signature, 9 a contributor's score, 10 a member's rewards.
    @param index Index of the contributor from 0, or of the member from 1; 0 for the rule.
    @return The number of the case.
    @dev As challenge_column; scores and rewards of a settled round. Reverts
         "dispute: other kind of case", "dispute: round not settled" besides. Emits CaseOpened.
    """
    if kind == facts.CONTRIBUTOR:
        self._require_contributor(round, index)
    elif kind == facts.SCORE:
        facts._settled(round)
        self._require_contributor(round, index)
    elif kind == facts.REWARD:
        facts._settled(round)
        opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
        is_member: bool = index > 0 and index <= opening.member_count
        assert is_member, "dispute: index out of range"
    else:
        assert kind == facts.RULE, "dispute: other kind of case"
        assert index == 0, "dispute: index out of range"
    return self._open(round, kind, index, 0)


@external
@payable
@nonreentrant
def demand_chunk(
    round: uint256, rule: facts.Rule, kind: uint256, index: uint256, chunk: uint256
) -> uint256:
    """
    @notice Oblige the coordinator to publish a chunk of a vector it committed to: 6 a contributor's
            update, 7 the base model, 8 the new model.
    @param rule The announced rule; must hash to the round's rule_hash.
    @param index Index of the contributor from 0; 0 for a model.
    @return The number of the case.
    @dev As challenge_column. Reverts "dispute: other kind of case" besides. Emits CaseOpened.
    """
    self._require_chunk(round, rule, chunk)
    if kind == facts.UPDATE:
        self._require_contributor(round, index)
    else:
        is_model: bool = kind == facts.BASE_MODEL or kind == facts.NEW_MODEL
        assert is_model, "dispute: other kind of case"
        assert index == 0, "dispute: index out of range"
    return self._open(round, kind, index, chunk)


@external
@payable
@nonreentrant
def demand_entry(id: uint256, index: uint256):
    """
    @notice Oblige the coordinator to publish one entry of a column it answered with: from 0, before
            the first contributor, to n. Halving the column so finds a step that does not follow.
    @dev Whoever opened the case, with another deposit, in time to refute, at most 32 times. Reverts
         "dispute: wrong deposit", "dispute: not the challenger", "dispute: no such column",
         "dispute: too late to refute", "dispute: index out of range", "dispute: too many demands",
         "dispute: round not live". Emits EntryDemanded.
    """
    assert msg.value == DEPOSIT, "dispute: wrong deposit"
    case: facts.Case = self._cases[id]
    answered: bool = case.state == ANSWERED and case.root != empty(bytes32)
    assert answered, "dispute: no such column"
    assert msg.sender == case.challenger, "dispute: not the challenger"
    assert block.timestamp < case.due, "dispute: too late to refute"
    assert case.demands < MAX_DEMANDS, "dispute: too many demands"
    sealing: rounds.Sealing = staticcall facts.FEDERATION.sealing(case.round)
    assert index <= sealing.n, "dispute: index out of range"
    assert self._is_convictable(case.round), "dispute: round not live"
    due: uint256 = self._answer_due()
    self.unanswered += 1
    self.locked += msg.value
    self._cases[id].state = WAITING
    self._cases[id].due = due
    self._cases[id].deposit = case.deposit + msg.value
    self._cases[id].entry = index + 1
    self._cases[id].demands = case.demands + 1
    log EntryDemanded(id=id, index=index, due=due)
    self._hold(case.round, due)


# --- answers ---------------------------------------------------------------------------------


@internal
@view
def _waiting(id: uint256) -> facts.Case:
    case: facts.Case = self._cases[id]
    assert case.state == WAITING, "dispute: nothing to answer"
    assert block.timestamp < case.due, "dispute: too late to answer"
    return case


@internal
def _answered(id: uint256) -> uint256:
    due: uint256 = block.timestamp + ANSWER_SECONDS
    self.unanswered -= 1
    self._cases[id].state = ANSWERED
    self._cases[id].due = due
    self._cases[id].entry = 0
    return due


@external
@nonreentrant
def answer_column(id: uint256, root: bytes32, lo: int256, hi: int256):
    """
    @notice Answer a challenge with the root of a column: the RFC 6962 tree of its n + 1 entries.
    @param lo Smallest and
    @param hi largest value kept, for the column of a coordinate-wise rule; else 0.
    @dev Coordinator only, before the answer is due. Reverts "role: not coordinator",
         "dispute: nothing to answer", "dispute: too late to answer",
         "dispute: other kind of case", "dispute: empty root", "dispute: lo above hi".
         Emits ColumnAnswered.
    """
    assert msg.sender == COORDINATOR, "role: not coordinator"
    case: facts.Case = self._waiting(id)
    unrooted: bool = case.kind <= facts.PAYMENTS and case.root == empty(bytes32)
    assert unrooted, "dispute: other kind of case"
    assert root != empty(bytes32), "dispute: empty root"
    assert lo <= hi, "dispute: lo above hi"
    self._cases[id].root = root
    self._cases[id].lo = lo
    self._cases[id].hi = hi
    due: uint256 = self._answered(id)
    log ColumnAnswered(id=id, root=root, lo=lo, hi=hi, due=due)


@external
@nonreentrant
def answer(id: uint256, evidence: Bytes[MAX_EVIDENCE]):
    """
    @notice Publish what was demanded. The deposit of a demand for data goes to the coordinator; one
            for an entry stays in its case.
    @param evidence A call of the examiner's answer_* function for that kind of case; it stays readable
           in the event.
    @dev Anyone, before the answer is due: only the demanded data answers. Reverts
         "dispute: nothing to answer", "dispute: too late to answer", "dispute: not an answer", or
         with the examiner's reason. Emits Answered, and CaseClosed for a demand for data.
    """
    case: facts.Case = self._waiting(id)
    is_column: bool = case.kind <= facts.PAYMENTS
    examiner: address = RECORDS
    if is_column or (case.kind >= facts.UPDATE and case.kind <= facts.NEW_MODEL):
        examiner = AGGREGATES
    response: Bytes[MAX_VERDICT] = raw_call(
        examiner, evidence, max_outsize=MAX_VERDICT, is_static_call=True
    )
    assert len(response) == 128, "dispute: not an answer"
    verdict: facts.Verdict = abi_decode(response, facts.Verdict)
    fits: bool = verdict.tag == facts.ANSWER and verdict.case == id
    assert fits, "dispute: not an answer"
    due: uint256 = 0
    if is_column:
        due = self._answered(id)
    else:
        self._close(id, COORDINATOR)
    log Answered(id=id, evidence=evidence, due=due)


# --- ends ------------------------------------------------------------------------------------


@external
@nonreentrant
def timeout(id: uint256):
    """
    @notice Convict the coordinator of not answering. The challenger gets bounty and deposits.
    @dev Anyone, from the second the answer was due. Reverts "dispute: nothing to answer",
         "dispute: before due", or the federation's reason. Emits Convicted and CaseClosed.
    """
    case: facts.Case = self._cases[id]
    assert case.state == WAITING, "dispute: nothing to answer"
    assert block.timestamp >= case.due, "dispute: before due"
    offence: bytes32 = NO_ANSWER
    if case.kind > facts.PAYMENTS:
        offence = WITHHELD
    self._close(id, case.challenger)
    self._convict(id, case.round, case.challenger, offence)


@external
@nonreentrant
def close(id: uint256):
    """
    @notice End a case that leads nowhere. Deposits go to the challenger if the round became void, or
            can no longer be convicted over a question that was not answered; to the coordinator if
            its column was not refuted in time.
    @dev Anyone. Reverts "dispute: no such case", "dispute: still running". Emits CaseClosed.
    """
    case: facts.Case = self._cases[id]
    assert case.state == WAITING or case.state == ANSWERED, "dispute: no such case"
    status: uint256 = staticcall facts.FEDERATION.status(case.round)
    if status == VOID:
        self._close(id, case.challenger)
    elif case.state == WAITING:
        assert not self._is_convictable(case.round), "dispute: still running"
        self._close(id, case.challenger)
    else:
        assert block.timestamp >= case.due, "dispute: still running"
        self._close(id, COORDINATOR)


@external
@nonreentrant
def collect():
    """
    @notice Pay out what the caller is owed: deposits, not bounties, which the federation holds.
    @dev Anyone with a credit. Reverts "collect: nothing due", "pay: refused". Emits Collected.
    """
    amount: uint256 = self._credit[msg.sender]
    assert amount > 0, "collect: nothing due"
    self._credit[msg.sender] = 0
    log Collected(account=msg.sender, amount=amount)
    paid: bool = raw_call(msg.sender, b"", value=amount, revert_on_failure=False)
    assert paid, "pay: refused"


# --- views -----------------------------------------------------------------------------------


@external
@view
def case_of(id: uint256) -> facts.Case:
    """
    @notice All there is of a case; zeros if there is none. Never reverts.
    """
    return self._cases[id]


@external
@view
def credit(account: address) -> uint256:
    """
    @notice Deposits an account may collect, in wei. Never reverts.
    """
    return self._credit[account]


@external
@view
def settings() -> Settings:
    """
    @notice What this referee was deployed with. Never reverts.
    """
    return Settings(
        federation=facts.FEDERATION.address,
        aggregate_examiner=AGGREGATES,
        record_examiner=RECORDS,
        coordinator=COORDINATOR,
        deposit=DEPOSIT,
        answer_seconds=ANSWER_SECONDS,
        challenge_window=CHALLENGE_WINDOW,
    )
