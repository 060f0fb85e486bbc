"""Bonds, claims, final models, checks of the chain: in this process, against a real chain."""

import json
import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Error, Message
from participant_bench import message, write_data
from safetensors import safe_open
from web3.providers import BaseProvider

from clients.daemon import chain
from clients.daemon.account_manager import AccountManager, BondMissingError
from clients.daemon.chain import HistoryGuard, NotDeployedError, WrongFederationError
from clients.daemon.contexts import Contexts
from clients.daemon.history import BlockHistory, HistoryLostError
from clients.daemon.message_handler import MessageHandler
from clients.daemon.model_copies import ModelCopies
from clients.daemon.periodic_tasks import Faults, PeriodicTasks, took_part
from clients.daemon.received import ReceivedModels
from clients.daemon.relay import unpack_reply
from clients.daemon.replies import ReplyStore
from clients.daemon.setup import build_app, open_account, read_setup
from clients.mod.journal import FileJournal
from clients.mod.signer import KeySigner
from clients.mod.verifiable_updates import Participant
from contracts.binding.rpc import Rpc
from coordinator.protocol import wire
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ChainUnavailableError, ConfigError, LedgerError, StoreError
from coordinator.protocol.evidence import judge
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.signatures.statements import check_presence
from coordinator.protocol.types import Address, Presence, RoundId, Signed, Wei
from coordinator.settings.evaluation import Evaluation
from coordinator.settings.participant import CsvData, DataUse, ParticipantRewards, ParticipantStake
from coordinator.stores.http import HttpStore
from coordinator.stores.instructions import InstructionFolder

ETHER = 10**18


class Member:
    """What a daemon is made of, wired by hand."""

    def __init__(self, stub, name, **limits):
        self.setup = read_setup(stub.root / "participants" / name / "participant.toml")
        self.account = open_account(self.setup.settings.account, self.setup.folder)
        self.address = Address(self.account.address)
        reach = self.setup.settings.coordinator
        self.link = chain.connect(reach.rpc, None, self.setup.agreement)
        self.state = self.setup.state
        self.state.mkdir(exist_ok=True)
        self.store = HttpStore(reach.store)
        self.guard = HistoryGuard(self.link.federation, BlockHistory(self.state / "blocks.jsonl"))
        journal = FileJournal(self.state / "journal.jsonl")
        who = Participant(
            KeySigner(bytes(self.account.key)),
            self.link.view,
            journal,
            self.setup.agreement.rule_hash,
            instructions=InstructionFolder(self.state / "instructions"),
        )
        self.instructions = who.instructions
        self.app = build_app(self.setup, self.address)
        self.message_handler = MessageHandler(
            who,
            lambda message, context: self.app(message, context),
            ReplyStore(self.state / "replies"),
            journal,
            self.guard,
            DataUse(**limits),
            Contexts(self.state / "context.state", {}),
        )

    def account_manager(self, *, join=True, bond=0, claim=0) -> AccountManager:
        return AccountManager(
            self.link.federation,
            self.account,
            ParticipantStake(join=join, bond_wei=bond),
            ParticipantRewards(claim_above_wei=claim),
            self.state / "bond.json",
        )

    def ask(self, asked):
        stored = self.message_handler.answer(asked, {})
        return unpack_reply(stored.header, stored.attachments, asked)


@pytest.fixture
def ada(stub):
    return Member(stub, "ada")


@pytest.fixture
def bob(stub):
    return Member(stub, "bob")


def play(stub, *members):
    announced = stub.service.open_round()
    for member in members:
        reply = member.ask(stub.train_message(announced))
        assert not reply.has_error(), reply.error
        stub.submit(announced, reply)
    return stub.service.close_round()


# --- bonds -----------------------------------------------------------------------------------


def test_it_bonds_once_and_tops_up_when_told_more(stub, ada):
    assert ada.account_manager().ensure_bond() == ETHER
    assert ada.account_manager().ensure_bond() == stub.bond(ada.address) == ETHER
    assert ada.account_manager(bond=3 * ETHER).ensure_bond() == 3 * ETHER
    assert ada.account_manager(bond=3 * ETHER).ensure_bond() == stub.bond(ada.address) == 3 * ETHER
    assert ada.account_manager().ensure_bond() == 3 * ETHER


def test_it_does_not_bond_untold(stub, ada):
    with pytest.raises(BondMissingError, match=r"bond of 0 wei.* set stake\.join = true"):
        ada.account_manager(join=False).ensure_bond()
    assert stub.bond(ada.address) == 0
    ada.link.federation.join(ada.account, Wei(ETHER))
    assert ada.account_manager(join=False).ensure_bond() == ETHER


def test_a_bond_that_was_taken_out_is_not_put_back(stub, ada):
    ada.account_manager().ensure_bond()
    ada.link.federation.leave(ada.account)
    for _ in range(2):
        with pytest.raises(BondMissingError, match=f"{ETHER} wei are unbonding.*run fedproof join"):
            ada.account_manager().ensure_bond()
    assert stub.bond(ada.address) == 0
    (ada.state / "bond.json").unlink()  # even if the note is lost: it was a member once
    with pytest.raises(BondMissingError, match="unbonding"):
        ada.account_manager().ensure_bond()


def test_it_says_what_money_is_missing(stub, ada):
    with pytest.raises(BondMissingError, match=rf"{ada.address} has {100 * ETHER} wei, bonding"):
        ada.account_manager(bond=100 * ETHER).ensure_bond()
    assert stub.bond(ada.address) == 0


def test_a_damaged_note_is_an_error(ada):
    ada.account_manager().ensure_bond()
    (ada.state / "bond.json").write_text("[" * 100)
    assert ada.account_manager().ensure_bond() == ETHER
    with pytest.raises(StoreError, match=r"bond\.json: .*remove it to start afresh"):
        ada.account_manager(bond=2 * ETHER).ensure_bond()


# --- rewards and models ----------------------------------------------------------------------


def test_rewards_are_claimed_from_the_threshold_on(stub, ada, bob):
    for member in (ada, bob):
        member.account_manager().ensure_bond()
    assert ada.account_manager(claim=1).claim_due(ada.store) == 0
    play(stub, ada, bob)
    earned = ETHER // 2
    assert ada.account_manager(claim=earned + 1).claim_due(ada.store) == 0
    assert ada.account_manager(claim=0).claim_due(ada.store) == 0
    assert ada.account_manager(claim=earned).claim_due(ada.store) == earned
    assert stub.federation.account(ada.address).claimed_wei == earned
    assert ada.account_manager(claim=1).claim_due(ada.store) == 0
    play(stub, ada, bob)
    assert bob.account_manager(claim=1).claim_due(bob.store) == 2 * earned


def test_final_models_are_copied_and_follow_from_the_chain(stub, ada, bob):
    for member in (ada, bob):
        member.account_manager().ensure_bond()
    manifest = ada.setup.agreement.core_manifest
    copies = ModelCopies(ada.state / "models", manifest, keep=2)
    copies.prepare()
    assert copies.refresh(ada.link.federation, ada.store) == []
    outcomes = [play(stub, ada, bob) for _ in range(3)]
    assert copies.refresh(ada.link.federation, ada.store) == [2, 3]
    assert copies.refresh(ada.link.federation, ada.store) == []
    with safe_open(copies.path(RoundId(3)), "np") as file:
        vector = file.get_tensor("fedproof.vector")
        assert file.metadata()["root"] == outcomes[2].model_root.hex()
        assert parameter_root(vector, manifest) == outcomes[2].model_root
        for name, values in dequantise(vector, manifest).items():
            np.testing.assert_array_equal(file.get_tensor(name), values)
    assert (ada.state / "models" / "manifest.json").read_bytes() == manifest.to_json()
    play(stub, ada, bob)
    assert copies.refresh(ada.link.federation, ada.store) == [4]
    names = sorted(p.name for p in (ada.state / "models").glob("round-*"))
    assert names == ["round-3.safetensors", "round-4.safetensors"]
    everything = ModelCopies(ada.state / "all", manifest, keep=0)
    everything.prepare()
    assert everything.refresh(ada.link.federation, ada.store) == [1, 2, 3, 4]


def test_a_final_model_that_was_trained_on_is_not_downloaded(stub, ada, bob):
    for member in (ada, bob):
        member.account_manager().ensure_bond()
    manifest = ada.setup.agreement.core_manifest
    ada.message_handler._received = received = ReceivedModels(ada.state / "received", manifest)
    outcome = play(stub, ada, bob)
    play(stub, ada, bob)
    copies = ModelCopies(ada.state / "models", manifest, 0, received)
    with pytest.raises(StoreError):
        copies.refresh(ada.link.federation, HttpStore("http://127.0.0.1:1"))
    with safe_open(copies.path(RoundId(1)), "np") as file:
        vector = file.get_tensor("fedproof.vector")
    assert parameter_root(vector, manifest) == outcome.model_root
    assert not copies.path(RoundId(2)).exists()
    assert copies.refresh(ada.link.federation, ada.store) == [2]


def test_a_chain_without_a_new_block_is_asked_for_its_head_only(stub, ada, bob, monkeypatch):
    bob.account_manager().ensure_bond()
    copies = ModelCopies(ada.state / "models", ada.setup.agreement.core_manifest, keep=2)
    copies.prepare()
    faults = Faults()
    periodic_tasks = PeriodicTasks(
        ada.link, ada.guard, ada.account_manager(), ada.store, copies, faults
    )
    provider, asked = ada.link.federation.rpc.provider, []
    request = provider.make_request
    monkeypatch.setattr(
        provider,
        "make_request",
        lambda method, params: asked.append(method) or request(method, params),
    )
    assert periodic_tasks.step()
    assert periodic_tasks.bond_wei == ETHER  # its own transaction made a block: it looks once more
    assert periodic_tasks.step()
    asked.clear()
    assert periodic_tasks.step()
    assert asked == ["eth_getBlockByNumber"]
    announced = stub.service.open_round()
    assert periodic_tasks.step()
    assert periodic_tasks.open_round == announced.round_id
    asked.clear()
    assert periodic_tasks.step()
    assert periodic_tasks.open_round == announced.round_id
    assert asked == ["eth_getBlockByNumber"]


def test_a_duty_that_failed_is_tried_again_without_a_new_block(stub, ada):
    models = ModelCopies(ada.state / "models", ada.setup.agreement.core_manifest, keep=2)
    faults = Faults()
    periodic_tasks = PeriodicTasks(
        ada.link, ada.guard, ada.account_manager(join=False), ada.store, models, faults
    )
    assert periodic_tasks.step()
    assert list(faults.now) == ["bond"]
    periodic_tasks.account_manager = ada.account_manager()
    assert periodic_tasks.step()
    assert periodic_tasks.bond_wei == ETHER
    assert not faults.now


def test_whether_a_round_is_sealed_with_ones_update(stub, ada, bob):
    for member in (ada, bob):
        member.account_manager().ensure_bond()
    federation, store = ada.link.federation, ada.store
    announced = stub.service.open_round()
    assert not took_part(federation, store, announced.round_id, ada.address)
    for member in (ada, bob):
        stub.submit(announced, member.ask(stub.train_message(announced)))
    stub.service.close_round()
    assert took_part(federation, store, announced.round_id, ada.address)
    assert not took_part(federation, store, announced.round_id, stub.account.address)


# --- answering -------------------------------------------------------------------------------


def test_the_same_question_gets_the_same_bytes_and_another_update_is_never_signed(stub, ada):
    ada.account_manager().ensure_bond()
    announced = stub.service.open_round()
    first = ada.message_handler.answer(stub.train_message(announced), {})
    write_data(ada.setup.folder / "data.csv", seed=99)  # it would train something else now
    ada.app = build_app(ada.setup, ada.address)
    again = ada.message_handler.answer(stub.train_message(announced), {})
    assert first.header == again.header
    assert [bytes(a) for a in first.attachments] == [bytes(a) for a in again.attachments]
    assert (ada.message_handler.progress.trained, ada.message_handler.progress.repeated) == (1, 1)
    (kept,) = (ada.state / "replies").iterdir()
    kept.unlink()
    refused = ada.ask(stub.train_message(announced))
    assert refused.error.reason.startswith("fedproof/already-signed: round 1: ")
    assert not list((ada.state / "replies").iterdir())


def test_of_two_instructions_both_are_kept_and_the_second_is_refused(stub, ada, bob, caplog):
    announced = stub.service.open_round()
    first = ada.ask(stub.train_message(announced, lr=0.1))
    assert not first.has_error()
    assert ada.instructions.differing() == []
    reason = ada.ask(stub.train_message(announced, lr=0.2)).error.reason
    assert reason.startswith("fedproof/conflicting-instruction: round 1: the coordinator signed ")
    assert "differs in content.config.lr" in reason
    assert "round 1: the coordinator signed two different train instructions" in caplog.text
    assert ada.instructions.differing() == [(1, "train")]
    # the first is answered as before; a third one adds nothing
    assert ada.ask(stub.train_message(announced, lr=0.1)).content == first.content
    assert ada.ask(stub.train_message(announced, lr=0.3)).has_error()
    assert judge(InstructionFolder(ada.state / "instructions").everything()).proves_equivocation
    # told one thing each, two participants have the evidence between them
    assert not bob.ask(stub.train_message(announced, lr=0.2)).has_error()
    hers = [i for i in ada.instructions.everything() if i.content["config"]["lr"] == 0.1]
    his = list(bob.instructions.everything())
    assert not judge(his).proves_equivocation
    assert judge([*hers, *his]).proves_equivocation


def test_what_cannot_be_kept_is_not_acted_on(stub, ada):
    announced = stub.service.open_round()
    (ada.state / "instructions").write_text("in the way")
    refused = ada.ask(stub.train_message(announced))
    assert refused.error.reason.startswith("fedproof/client-failure: ")
    assert "the instruction cannot be kept" in refused.error.reason
    assert not (ada.state / "journal.jsonl").exists()


def test_a_coordinator_that_starts_again_signs_the_same_and_never_two(stub, ada):
    """Its own instructions are kept before they are sent, whatever its settings are by then."""
    announced = stub.service.open_round()
    config = {"config": {"lr": 0.1}, "sealed": False}
    first = stub.service.sign_instruction(announced.round_id, "train", config)
    stub.close()
    stub.open()
    again = stub.service.open_round()
    assert (again.round_id, again.deadline) == (announced.round_id, announced.deadline)
    now = stub.service.sign_instruction(
        announced.round_id, "train", {**config, "config": {"lr": 0.2}}
    )
    assert now == first


def test_a_reply_that_cannot_be_kept_is_not_sent(stub, ada, monkeypatch):
    announced = stub.service.open_round()
    failing = [OSError(28, "No space left on device")]
    real = os.fsync

    def fsync(descriptor):
        if "replies" in os.readlink(f"/proc/self/fd/{descriptor}") and failing:
            raise failing.pop()
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    refused = ada.ask(stub.train_message(announced))
    assert "client-failure" in refused.error.reason
    assert "No space left on device" in refused.error.reason
    reply = ada.ask(stub.train_message(announced))  # there is room again: the very same update
    assert not reply.has_error()


def test_the_hello_binds_the_node_to_the_account(stub, ada):
    reply = ada.ask(message(_hello(), "query", node=2**63 + 1))
    record = dict(reply.content.config_records[wire.HELLO])
    assert {name: type(value) for name, value in record.items()} == dict(wire.HELLO_FIELDS)
    signed = Signed(
        Address(record["account"]),
        Presence(2**63 + 1, record["expiry"]),
        bytes.fromhex(record["signature"]),
    )
    found = check_presence(
        signed,
        domain=stub.agreement.domain,
        node_id=2**63 + 1,
        now=stub.federation.now(),
    )
    assert found == ada.address


def _hello():
    from flwr.app import ConfigRecord, RecordDict

    return RecordDict({wire.HELLO: ConfigRecord({})})


def test_nothing_is_trained_for_a_round_that_is_over(stub, ada, monkeypatch):
    announced = stub.service.open_round()
    deadline = stub.federation.round(announced.round_id).deadline
    monkeypatch.setattr(ada.guard, "now", lambda: deadline)
    reply = ada.ask(stub.train_message(announced))
    assert reply.error.reason == "fedproof/round-not-open: round 1 ended 0 s ago (chain time)"
    assert not (ada.state / "journal.jsonl").exists()
    monkeypatch.setattr(ada.guard, "now", lambda: deadline - 1)
    assert not ada.ask(stub.train_message(announced)).has_error()
    stub.service.close_round()  # too few: it is void, which is seen at once
    ada.message_handler._replies.find = lambda *_: None
    assert ada.ask(stub.train_message(announced)).error.reason.startswith(
        "fedproof/round-not-open: round 1 is void on chain"
    )


def examples_of(reply):
    (metrics,) = reply.content.metric_records.values()
    return metrics["num-examples"]


def evaluating(setup, **limits):
    agreed = setup.agreement.model_copy(update={"evaluation": Evaluation(test_share=0.25)})
    settings = setup.settings.model_copy(update={"limits": DataUse(**limits)})
    return replace(setup, agreement=agreed, settings=settings)


def test_the_agreed_share_is_tested_on_and_not_trained_on(stub, ada):
    announced = stub.service.open_round()
    assert examples_of(ada.ask(stub.train_message(announced, kind="evaluate"))) == 40  # as ever
    ada.app = build_app(evaluating(ada.setup), ada.address)
    assert examples_of(ada.ask(stub.train_message(announced))) == 30
    reply = ada.ask(stub.train_message(announced, kind="evaluate"))
    assert examples_of(reply) == 10
    (metrics,) = reply.content.metric_records.values()
    assert set(metrics) == {"num-examples", "loss", "accuracy"}


def test_a_participant_may_have_test_data_of_its_own_and_trains_on_all_the_rest(stub, ada):
    write_data(ada.setup.folder / "test.csv", seed=99, rows=7)
    setup = evaluating(ada.setup)
    own = CsvData(path="test.csv", label="sick")
    settings = setup.settings.model_copy(update={"test_data": own})
    ada.app = build_app(replace(setup, settings=settings), ada.address)
    announced = stub.service.open_round()
    assert examples_of(ada.ask(stub.train_message(announced))) == 40
    assert examples_of(ada.ask(stub.train_message(announced, kind="evaluate"))) == 7


def test_a_participant_may_evaluate_nothing_and_train_on_all(stub):
    ada = Member(stub, "ada", evaluate=False)
    ada.app = build_app(evaluating(ada.setup, evaluate=False), ada.address)
    announced = stub.service.open_round()
    assert examples_of(ada.ask(stub.train_message(announced))) == 40
    refused = ada.ask(stub.train_message(announced, kind="evaluate")).error.reason
    assert refused == (
        "fedproof/limit-reached: this participant evaluates no model: limits.evaluate = false"
    )


def test_a_limit_of_rounds_is_one_on_evaluation_too(stub, bob):
    ada = Member(stub, "ada", rounds=1)
    for one in (ada, bob):
        one.account_manager().ensure_bond()
    play(stub, ada, bob)
    announced = stub.service.open_round()
    deadline = stub.federation.round(RoundId(1)).deadline
    first = replace(announced, round_id=RoundId(1), deadline=deadline)
    assert examples_of(ada.ask(stub.train_message(first, kind="evaluate"))) == 40
    refused = ada.ask(stub.train_message(announced, kind="evaluate")).error.reason
    assert refused.startswith("fedproof/limit-reached: round 2: this data was used in 1 rounds")


def test_limits_of_rounds_and_examples(stub):
    ada = Member(stub, "ada", rounds=1)
    bob = Member(stub, "bob", max_examples=39)
    for member in (ada, bob):
        member.account_manager().ensure_bond()
    announced = stub.service.open_round()
    stub.submit(announced, ada.ask(stub.train_message(announced)))
    assert not ada.ask(stub.train_message(announced)).has_error()
    refused = bob.ask(stub.train_message(announced))
    assert refused.error.reason == (
        "fedproof/limit-reached: the application used 40 examples, limits.max_examples = 39"
    )
    assert not (bob.state / "journal.jsonl").exists()
    stub.service.close_round()
    refused = ada.ask(stub.train_message(stub.service.open_round()))
    assert refused.error.reason.startswith(
        "fedproof/limit-reached: round 2: this data was used in 1 rounds, limits.rounds = 1"
    )


def test_what_is_declined_is_logged_once(stub, caplog):
    ada, bob = Member(stub, "ada"), Member(stub, "bob", max_examples=39)
    for member in (ada, bob):
        member.account_manager().ensure_bond()
    announced = stub.service.open_round()
    ada.app = lambda asked, _context: Message(Error(7, "no data today"), reply_to=asked)
    for member, reason in ((bob, "limit-reached"), (ada, "no data today")):
        caplog.clear()
        assert reason in member.ask(stub.train_message(announced)).error.reason
        lines = [f"{r.getMessage()} {r.__dict__.get('fedproof_fields')}" for r in caplog.records]
        assert sum("declined" in line and reason in line for line in lines) == 1
        assert sum("declined" in line for line in lines) == 1
        assert member.message_handler.progress.refused == 1


def test_an_application_is_told_the_round_that_the_chain_has(stub, ada):
    ada.account_manager().ensure_bond()
    seen = []

    def app(asked, _context):
        seen.append(asked.content.config_records["config"]["server-round"])
        return trained(asked, _context)

    trained, ada.app = ada.app, app
    for claimed in (0, 7):
        announced = stub.service.open_round()
        reply = ada.ask(stub.train_message(announced, **{"server-round": claimed}))
        stub.submit(announced, reply)
        stub.service.close_round()
    assert seen == [1, 2]
    ada.ask(stub.train_message(announced, kind="evaluate", **{"server-round": 0}))
    assert seen == [1, 2, 2]


def test_an_application_that_fails_tells_the_coordinator_no_more_than_its_kind(stub, ada, caplog):
    def app(_message, _context):
        raise ValueError("patient 4711 has a negative age")

    ada.app = app
    reply = ada.ask(stub.train_message(stub.service.open_round()))
    assert (reply.error.code, reply.error.reason) == (3, "application: ValueError")
    assert "patient 4711" in caplog.text
    assert not list((ada.state / "replies").iterdir())


def test_a_chain_that_lost_a_block_gets_no_answer_to_anything(stub, ada, monkeypatch):
    announced = stub.service.open_round()
    ada.guard.check()
    newest = ada.guard._history.newest
    ada.guard._history._blocks[-1] = newest._replace(hash=b"\7" * 32)
    for asked in (stub.train_message(announced), message(_hello(), "query")):
        reply = ada.ask(asked)
        assert reply.error.reason.startswith(
            f"fedproof/history-lost: block {newest.number} 0x{'07' * 32} was seen and is gone"
        )
    with pytest.raises(HistoryLostError):
        ada.guard.check()
    ada.guard._history._blocks[-1] = newest
    assert not ada.ask(stub.train_message(announced)).has_error()


def test_a_node_that_is_away_is_named(stub, ada):
    announced = stub.service.open_round()
    asked = stub.train_message(announced)
    ada.link.federation.rpc.provider._client._attempts = 1
    stub.http.stop()
    assert ada.ask(asked).error.reason.startswith("fedproof/chain-unavailable: node http://127")


# --- the right federation --------------------------------------------------------------------


def changed(agreement, **fields):
    return agreement.model_copy(update=fields)


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"chain_id": 1}, WrongFederationError, "chain 1337, the federation bench is on chain 1"),
        ({"contract": "0x" + "12" * 20}, NotDeployedError, "there is no contract at 0x1212"),
        ({"round_duration_s": 601}, WrongFederationError, "was deployed for agreement "),
        ({"initial_model_root": "ab" * 32}, WrongFederationError, "was deployed for"),
    ],
)
def test_another_chain_or_contract_or_agreement_is_refused(stub, fields, error, text):
    reach = f"http://127.0.0.1:{stub.settings.http.port}/rpc"
    with pytest.raises(error, match=text):
        chain.connect(reach, None, changed(stub.agreement, **fields))


def test_another_contract_of_the_same_shape_is_refused(stub):
    reach = f"http://127.0.0.1:{stub.settings.http.port}/rpc"
    referee = stub.federation.head().referee
    with pytest.raises(WrongFederationError, match=r"is no federation|is not the federation"):
        chain.connect(reach, None, changed(stub.agreement, contract=referee))


def test_nobody_there(stub):
    stub.http.stop()
    with pytest.raises(ChainUnavailableError):
        chain.connect(f"http://127.0.0.1:{stub.settings.http.port}/rpc", None, stub.agreement)


class GoesAway(BaseProvider):
    """A node that answers so many requests."""

    def __init__(self, inner, answers, error=None):
        self.inner, self.answers, self.error = inner, answers, error

    def make_request(self, method, params):
        if not self.answers:
            if self.error is None:
                raise ConnectionRefusedError("connection refused")
            return {"jsonrpc": "2.0", "id": 1, "error": self.error}
        self.answers -= 1
        return self.inner.make_request(method, params)


ASKED = 5
"""What the check asks: chain, code, code, terms, the code there should be."""


@pytest.mark.parametrize("answers", range(ASKED))
def test_a_node_that_goes_away_is_no_wrong_federation(stub, answers):
    inner = stub.federation.rpc.provider
    with pytest.raises(ChainUnavailableError, match="connection refused"):
        chain.check_federation(Rpc(GoesAway(inner, answers)), stub.agreement)
    chain.check_federation(Rpc(GoesAway(inner, ASKED)), stub.agreement)


def test_a_node_that_will_not_run_the_constructor_is_no_wrong_federation(stub):
    busy = GoesAway(stub.federation.rpc.provider, ASKED - 1, {"code": -32005, "message": "busy"})
    with pytest.raises(LedgerError, match="eth_call refused: busy"):
        chain.check_federation(Rpc(busy), stub.agreement)


# --- settings --------------------------------------------------------------------------------


def edited(root, old, new):
    path = root / "participants" / "ada" / "participant.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[limits]\nmin_contributors = 3", "limits.min_contributors = 3: .* needs 2 contrib"),
        ("[limits]\nsealed_only = true", "limits.sealed_only: bench is not sealed"),
        ("[limits]\nround = 3", 'unknown key "limits.round"; did you mean "rounds"'),
    ],
)
def test_limits_that_the_federation_does_not_keep(root, line, message):
    path = edited(root, "[stake]", f"{line}\n\n[stake]")
    with pytest.raises(ConfigError, match=message):
        read_setup(path)


def test_data_that_does_not_fit_is_told_before_anything_runs(root):
    setup = read_setup(root / "participants" / "ada" / "participant.toml")
    (setup.folder / "data.csv").write_text("a,b,c,sick\n1,2,3,2\n")
    with pytest.raises(ConfigError, match=r"data\.csv: label of example 0 is 2, .* 0 to 1"):
        build_app(setup, Address("0x" + "11" * 20))
    (setup.folder / "data.csv").unlink()
    with pytest.raises(ConfigError, match=r"data\.csv: cannot be read: No such file"):
        build_app(setup, Address("0x" + "11" * 20))


def test_an_app_that_cannot_be_imported_is_told(root):
    setup = read_setup(edited(root, 'state = "state"', 'state = "state"\napp = "no_such:app"'))
    with pytest.raises(ConfigError, match='"no_such:app": cannot import no_such'):
        build_app(setup, Address("0x" + "11" * 20))


def test_code_that_an_agreement_names_runs_only_where_the_participant_says_so(root, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    setup = read_setup(root / "participants" / "ada" / "participant.toml")
    imported = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    (setup.folder / "stranger.py").write_text(imported)
    training = setup.agreement.training.model_copy(update={"loss": "stranger:loss"})
    agreement = setup.agreement.model_copy(update={"training": training})
    with pytest.raises(ConfigError, match=r'"stranger:loss", which is not in extensions of part'):
        build_app(replace(setup, agreement=agreement), Address("0x" + "11" * 20))
    assert not (setup.folder / "stranger.ran").exists()
    path = edited(root, 'state = "state"', 'state = "state"\nextensions = ["stranger:loss"]')
    (setup.folder / "stranger.py").write_text(
        "from torch.nn.functional import cross_entropy\n"
        "def loss(logits, labels):\n    return 2 * cross_entropy(logits, labels)\n"
    )
    allowed = replace(read_setup(path), agreement=agreement)
    assert callable(build_app(allowed, Address("0x" + "11" * 20)))
    weighted = training.model_copy(
        update={"loss": "cross_entropy", "loss_options": {"weight": [1.0, 2.0, 3.0]}}
    )
    three = agreement.model_copy(update={"training": weighted})
    with pytest.raises(ConfigError, match="weight has 3 numbers, the model has 2 classes"):
        build_app(replace(allowed, agreement=three), Address("0x" + "11" * 20))


def test_a_loader_may_lie_beside_the_settings(root, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    path = edited(root, '\nkind = "csv"', '\nkind = "python"\nfunction = "my_loader:load"')
    text = path.read_text()
    path.write_text(re.sub(r"^(path|label) = .*\n", "", text, flags=re.MULTILINE))
    (path.parent / "my_loader.py").write_text("def load():\n    return [[1, 2, 3.0]], [1]\n")
    assert callable(build_app(read_setup(path), Address("0x" + "11" * 20)))


def test_the_password_leaves_the_environment(root, monkeypatch):
    path = edited(root, 'password_file = "password.txt"', "")
    setup = read_setup(path)
    password = (setup.folder / "password.txt").read_text().strip()
    monkeypatch.setenv("FEDPROOF_PASSWORD", password)
    account = open_account(setup.settings.account, setup.folder)
    assert "FEDPROOF_PASSWORD" not in os.environ
    stored = json.loads((setup.folder / "account.json").read_text())
    assert account.address[2:].lower() == stored["address"].removeprefix("0x").lower()
