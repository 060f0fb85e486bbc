"""Sealed rounds through strategy and mod: commit, fix on chain, reveal; copiers get nothing."""

from dataclasses import replace

import pytest
from flower_bench import (
    DOMAIN,
    INITIAL,
    MANIFEST,
    LocalGrid,
    app_with,
    initial_arrays,
    local_apps,
    make_bench,
    signer,
)
from flwr.app import ConfigRecord, Message, RecordDict
from memory_ledger import COORDINATOR_KEY

from clients.mod.journal import FileJournal, MemoryJournal
from clients.mod.pending import FilePending
from clients.mod.sealing import commitment_reply, salt_of
from clients.mod.verifiable_updates import Participant, VerifiableUpdates
from coordinator.flower.records import read_statement
from coordinator.flower.sealed import reveal_queries
from coordinator.flower.strategy import ServiceStrategy
from coordinator.protocol import wire
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.commitments.documents import (
    commitments_document,
    contributor_entries,
    name_of,
)
from coordinator.protocol.instructions import (
    REVEAL,
    content_hash,
    phase_number,
    reveal_content,
)
from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.signatures.eip712 import sealed_commitment, sign_statement
from coordinator.protocol.types import Commitment, RoundId, RoundInstruction

SCALE = 1 << 20
COPIER, VICTIM = 2, 4  # nodes; contributors 0 and 2


def run(bench, grid, rounds=1, **options):
    reports = []
    strategy = ServiceStrategy(
        bench.service, on_round=reports.append, fraction_evaluate=0.0, **options
    )
    strategy.start(grid, initial_arrays(), num_rounds=rounds)
    return reports


def kinds(grid):
    return [message.metadata.message_type for message in grid.sent]


def test_a_sealed_round_gives_what_an_open_one_gives_and_binds_it_on_chain():
    opened, sealed = make_bench(), make_bench(sealed=True)
    run(opened, LocalGrid(local_apps(opened)), rounds=2)
    grid = LocalGrid(local_apps(sealed))
    reports = run(sealed, grid, rounds=2)
    step = 3 * SCALE // 8  # by hand in test_flower_rounds
    base = quantise(INITIAL, MANIFEST)
    assert reports[1].outcome.model.tolist() == (base + 2 * step).tolist()
    for number in (1, 2):
        ours, theirs = (b.ledger.round(RoundId(number)) for b in (sealed, opened))
        assert ours.new_model_root == theirs.new_model_root
        # what was signed, weighed and paid is the same too: the salt is beside the leaves
        assert ours.contributors_root == theirs.contributors_root
        assert (ours.commitments_count, theirs.commitments_root) == (4, bytes(32))
        document = sealed.store.get_document("commitments", ours.commitments_root)
        committed = {who: bytes.fromhex(digest) for who, digest in document["commitments"]}
        entries = contributor_entries(
            sealed.store.get_document("contributors", ours.contributors_root)
        )
        for entry in entries:
            who, root = entry.leaf.contributor, entry.leaf.update_root
            assert entry.salt == salt_of(entry.signature)
            opening = sealed_commitment(DOMAIN, RoundId(number), who, entry.salt, root)
            assert committed[who] == opening
    assert kinds(grid) == (["train"] * 4 + ["query"] * 4) * 2
    assert sealed.refusals(1) == {}


def test_nothing_of_an_update_leaves_a_client_before_the_commitments_are_on_chain():
    bench = make_bench(sealed=True)
    seen = []

    def deliver(message, answer):
        root = bench.ledger.round(RoundId(1)).commitments_root
        reply = answer(message)
        seen.append((message.metadata.message_type, any(root), sorted(reply.content)))
        return [reply]

    run(bench, LocalGrid(local_apps(bench), deliver))
    assert seen[:4] == [("train", False, [wire.COMMITMENT])] * 4
    assert [entry[:2] for entry in seen[4:]] == [("query", True)] * 4
    assert all("arrays" in records for _, _, records in seen[4:])


# --- copiers -----------------------------------------------------------------------------------


class Spy(VerifiableUpdates):
    """Commits to what another contributor committed to, and reveals what that one revealed.

    It sees every message on the wire, as a coordinator's accomplice would.
    """

    def __init__(self, participant, wiretap):
        super().__init__(participant)
        self._copier, self._wiretap = participant, wiretap

    def _committed(self, content, instruction, model, participant, context):
        stolen = bytes.fromhex(self._wiretap["train"][wire.COMMITMENT]["commitment"])
        statement = Commitment(instruction.round_id, stolen)
        return commitment_reply(self._copier.signer.sign_statement(DOMAIN, statement))

    def _reveal(self, content, context):
        return self._resigned(self._wiretap["query"])

    def _signed_reply(self, content, instruction, model, participant, context):
        if instruction.sealed:
            return content
        return self._resigned(self._wiretap["train"])

    def _resigned(self, stolen):
        """Return the victim's reply, signed as one's own."""
        records = dict(stolen.items())
        ours = self._copier.signer.sign(DOMAIN, read_statement(stolen).statement)
        statement = dict(records[wire.STATEMENT_RECORD])
        statement |= {"contributor": ours.signer, "signature": ours.signature.hex()}
        return RecordDict({**records, wire.STATEMENT_RECORD: ConfigRecord(statement)})


def play_copier(*, sealed):
    bench = make_bench(sealed=sealed)
    wiretap = {}
    participant = Participant(signer(COPIER - 2), bench.chain_view, MemoryJournal())
    apps = local_apps(bench)
    # asked after its victim, so that there is something to copy
    apps = {node: app for node, app in apps.items() if node != COPIER}
    apps[9] = app_with([Spy(participant, wiretap)])

    def deliver(message, answer):
        reply = answer(message)
        if message.metadata.dst_node_id == VICTIM:
            wiretap[message.metadata.message_type] = reply.content
        return [reply]

    (report,) = run(bench, LocalGrid(apps, deliver))
    found = bench.ledger.round(RoundId(1))
    rewards = bench.store.get_document("rewards", found.rewards_root)["rewards"]
    return bench, report.outcome, int(dict(rewards)[participant.signer.address])


def test_a_copier_is_paid_in_an_open_round():
    _, outcome, earned = play_copier(sealed=False)
    assert signer(COPIER - 2).address in outcome.accepted
    assert earned == 1000 * 30 // (20 + 30 + 40 + 30)


def test_a_copier_cannot_copy_in_a_sealed_round_and_gets_nothing():
    bench, outcome, earned = play_copier(sealed=True)
    copier = signer(COPIER - 2).address
    assert (outcome.status, len(outcome.accepted), earned) == ("sealed", 3, 0)
    assert copier not in outcome.accepted
    # its commitment is on chain like everybody's, but opens to nothing that it can sign
    assert bench.ledger.round(RoundId(1)).commitments_count == 4
    assert bench.refusals(1) == {copier: "commitment-mismatch"}


# --- what clients refuse -----------------------------------------------------------------------


def committed_bench():
    """A round in which everybody has committed and the strategy is about to ask for updates."""
    bench = make_bench(sealed=True)
    grid = LocalGrid(local_apps(bench))
    strategy = ServiceStrategy(bench.service)
    sent = list(strategy.configure_train(1, initial_arrays(), ConfigRecord(), grid))
    queries = strategy.configure_reveal(grid.send_and_receive(sent, timeout=1))
    return bench, grid, strategy, queries


def signed_anew(fields):
    """Return the fields of a query with the signature of a coordinator that means them."""
    statement = RoundInstruction(
        fields[wire.ROUND],
        phase_number(REVEAL),
        bytes.fromhex(fields[wire.BASE_MODEL]),
        bytes.fromhex(fields[wire.RULE_HASH]),
        fields[wire.DEADLINE],
        content_hash(reveal_content(fields[wire.COMMITMENTS].encode())),
    )
    signature = sign_statement(DOMAIN, statement, COORDINATOR_KEY).signature
    return {**fields, wire.SIGNATURE: signature.hex()}


def ask(grid, query, *, anew=False, **changes):
    fields = {**dict(query.content.config_records[wire.REVEAL]), **changes}
    fields = {name: value for name, value in fields.items() if value is not None}
    content = RecordDict({wire.REVEAL: ConfigRecord(signed_anew(fields) if anew else fields)})
    message = Message(content, query.metadata.dst_node_id, "query", group_id="1")
    (reply,) = grid.send_and_receive([message])
    return reply.error.reason.split(":")[0] if reply.has_error() else reply.content


def test_a_client_reveals_only_what_the_chain_holds():
    _, grid, _, queries = committed_bench()
    query = queries[0]
    text = query.content.config_records[wire.REVEAL][wire.COMMITMENTS]
    document = parse_json(text.encode(), "test")
    fewer = canonical_json({**document, "commitments": document["commitments"][1:]}).decode()
    other_round = canonical_json({**document, "round": 2}).decode()
    for changes, code in (
        ({wire.COMMITMENTS: fewer}, "wrong-commitments"),
        ({wire.COMMITMENTS: other_round}, "wrong-commitments"),
        ({wire.COMMITMENTS: "{"}, "wrong-commitments"),
        ({wire.COMMITMENTS: "[" * 100_000}, "wrong-commitments"),
        ({wire.ROUND: 2}, "round-not-open"),
    ):
        assert ask(grid, query, **changes) == "fedproof/wrong-instruction-signature", changes
        assert ask(grid, query, anew=True, **changes) == f"fedproof/{code}", changes
    for changes, code in (
        ({wire.COMMITMENTS: 7}, "malformed-instruction"),
        ({wire.CHAIN_ID: 1}, "wrong-domain"),
        ({wire.VERSION: 2}, "unsupported-version"),
        ({wire.SIGNATURE: None}, "unsigned-instruction"),
        ({wire.DEADLINE: 1}, "wrong-instruction-signature"),
        ({wire.BASE_MODEL: "00" * 32}, "wrong-instruction-signature"),
    ):
        assert ask(grid, query, **changes) == f"fedproof/{code}", changes
    assert sorted(ask(grid, query)) == ["arrays", "fedproof", wire.REVEAL, "metrics"]


def test_before_the_commitments_are_on_chain_nothing_is_revealed():
    bench = make_bench(sealed=True)
    grid = LocalGrid(local_apps(bench))
    strategy = ServiceStrategy(bench.service)
    sent = list(strategy.configure_train(1, initial_arrays(), ConfigRecord(), grid))
    list(grid.send_and_receive(sent))
    document = commitments_document(RoundId(1), {signer(0).address: b"\1" * 32})
    (query,) = reveal_queries(bench.service, strategy._announcement, document, [2])
    assert ask(grid, query) == "fedproof/wrong-commitments"


def test_who_has_not_committed_reveals_nothing_and_is_not_counted_twice():
    bench = make_bench(sealed=True)

    def deliver(message, answer):
        silent = message.metadata.dst_node_id == 5 and message.metadata.message_type == "train"
        return [] if silent else [answer(message)]

    grid = LocalGrid(local_apps(bench), deliver)
    (report,) = run(bench, grid)
    assert len(report.outcome.accepted) == 3
    assert bench.refusals(1) == {"node 5": "no-reply"}
    assert [m.metadata.dst_node_id for m in grid.sent[4:]] == [2, 3, 4]


def test_the_same_question_gets_the_same_commitment_without_training_again(tmp_path):
    bench = make_bench(sealed=True)
    trained = []

    def count(message, context, call_next):
        trained.append(message.metadata.message_type)
        return call_next(message, context)

    def app():
        participant = Participant(
            signer(0), bench.chain_view, FileJournal(tmp_path / "j"), pending=FilePending(tmp_path)
        )
        return app_with([VerifiableUpdates(participant), count])

    grid = LocalGrid({2: app()})
    strategy = ServiceStrategy(bench.service, wait_for_nodes_s=0)
    (message,) = strategy.configure_train(1, initial_arrays(), ConfigRecord(), grid)
    (first,) = grid.send_and_receive([message])
    again = Message(message.content, 2, "train", group_id="1")
    grid = LocalGrid({2: app()})  # a new process, with the same folder
    (second,) = grid.send_and_receive([again])
    assert dict(first.content[wire.COMMITMENT]) == dict(second.content[wire.COMMITMENT])
    assert trained == ["train"]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_participant_takes_part_only_as_agreed(sealed):
    bench = make_bench(sealed=not sealed)
    apps = local_apps(bench)
    view = bench.chain_view
    stubborn = Participant(signer(0), view, MemoryJournal(), sealed=sealed)
    apps[2] = app_with([VerifiableUpdates(stubborn)])
    run(bench, LocalGrid(apps))
    assert bench.refusals(1) == {"node 2": "not-sealed" if sealed else "sealed"}


# --- hostile replies ---------------------------------------------------------------------------


def hostile_round(change_commitment=None, change_reveal=None):
    bench = make_bench(sealed=True)

    def deliver(message, answer):
        reply = answer(message)
        if message.metadata.dst_node_id != COPIER:
            return [reply]
        change = change_commitment if message.metadata.message_type == "train" else change_reveal
        return [reply] if change is None else [Message(change(reply.content), reply_to=message)]

    (report,) = run(bench, LocalGrid(local_apps(bench), deliver))
    return bench, report.outcome


def with_fields(record, **fields):
    return lambda content: RecordDict(
        {**dict(content.items()), record: ConfigRecord({**dict(content[record]), **fields})}
    )


ACCOUNT = signer(0).address


@pytest.mark.parametrize(
    ("change", "sender", "code"),
    [
        (lambda c: RecordDict({}), "node 2", "empty-reply"),
        (lambda c: RecordDict({"x": ConfigRecord({})}), "node 2", "wrong-records"),
        (with_fields(wire.COMMITMENT, version=2), "node 2", "malformed-statement"),
        (with_fields(wire.COMMITMENT, extra=2), "node 2", "malformed-statement"),
        (with_fields(wire.COMMITMENT, commitment="00"), "node 2", "malformed-statement"),
        (with_fields(wire.COMMITMENT, round=-1), "node 2", "malformed-statement"),
        (with_fields(wire.COMMITMENT, contributor="0x"), "node 2", "malformed-statement"),
        (with_fields(wire.COMMITMENT, round=2), f"{ACCOUNT} (unproven)", "wrong-round"),
        (
            with_fields(wire.COMMITMENT, commitment="00" * 32),
            f"{ACCOUNT} (unproven)",
            "wrong-signer",
        ),
        (
            with_fields(wire.COMMITMENT, contributor=signer(9).address),
            f"{signer(9).address} (unproven)",
            "not-bonded",
        ),
    ],
)
def test_a_bad_commitment_is_refused_by_name_and_the_round_goes_on(change, sender, code):
    bench, outcome = hostile_round(change_commitment=change)
    assert (outcome.status, len(outcome.accepted)) == ("sealed", 3)
    assert bench.refusals(1) == {sender: code}


@pytest.mark.parametrize(
    ("change", "sender", "code"),
    [
        (with_fields(wire.REVEAL, salt="00" * 32), ACCOUNT, "commitment-mismatch"),
        (with_fields(wire.REVEAL, salt="00"), "node 2", "malformed-statement"),
        (lambda c: RecordDict({k: v for k, v in c.items() if k != wire.REVEAL}), "node 2", ""),
        (with_fields("fedproof", update="00" * 32), f"{ACCOUNT} (unproven)", "wrong-signer"),
    ],
)
def test_a_bad_reveal_is_refused_by_name_and_the_round_goes_on(change, sender, code):
    bench, outcome = hostile_round(change_reveal=change)
    assert (outcome.status, len(outcome.accepted)) == ("sealed", 3)
    assert bench.refusals(1) == {sender: code or "wrong-records"}


def test_too_few_commitments_void_the_round_and_nothing_is_revealed():
    bench = make_bench(sealed=True)

    def deliver(message, answer):
        late = message.metadata.group_id == "2" or message.metadata.dst_node_id == 2
        return [answer(message)] if late else []

    grid = LocalGrid(local_apps(bench), deliver)
    reports = run(bench, grid, rounds=2)
    assert [r.outcome.status for r in reports] == ["void", "sealed"]
    assert reports[0].outcome.reason == "too few commitments: 1 of 2"
    assert kinds(grid)[:5] == ["train"] * 4 + ["train"]
    assert bench.refusals(1) == {f"node {n}": "no-reply" for n in (3, 4, 5)}
    assert bench.ledger.round(RoundId(1)).commitments_root == bytes(32)


# --- crashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["gathering", "stored", "committed", "revealing"])
def test_a_killed_coordinator_goes_on_to_the_same_roots(moment, monkeypatch):
    class KilledError(Exception):
        pass

    def silent_one(message, answer):
        silent = message.metadata.dst_node_id == 5 and message.metadata.message_type == "train"
        return [] if silent else [answer(message)]

    whole = make_bench(sealed=True)
    run(whole, LocalGrid(local_apps(whole), silent_one))
    bench = make_bench(sealed=True)
    apps = local_apps(bench)
    answers = []

    def interrupted(message, answer):
        replies = silent_one(message, answer)
        answers.append(message.metadata.message_type)
        at = {"gathering": ("train", 2), "revealing": ("query", 2)}.get(moment)
        if at and answers.count(at[0]) == at[1]:
            raise KilledError
        return replies

    def cut(*_args, **_named):
        raise KilledError

    grid = LocalGrid(apps, interrupted)
    with monkeypatch.context() as patch:
        if moment == "stored":
            patch.setattr(bench.ledger, "commit_updates", cut)
        if moment == "committed":
            commit = bench.ledger.commit_updates
            patch.setattr(bench.ledger, "commit_updates", lambda *a, **k: (commit(*a, **k), cut()))
        with pytest.raises(KilledError):
            run(bench, grid)
    bench.restarted()
    resumed = LocalGrid(apps, silent_one)
    resumed.contexts = grid.contexts  # participants were not killed
    (report,) = run(bench, resumed)
    assert report.outcome.status == "sealed"
    assert bench.ledger.rounds == whole.ledger.rounds
    assert bench.refusals(1) == whole.refusals(1) == {"node 5": "no-reply"}
    again = "train" in kinds(resumed)
    assert again is (moment in ("gathering", "stored"))


def test_a_document_that_is_not_the_chains_stops_the_resumed_round():
    bench, _, _, _ = committed_bench()
    found = bench.ledger.round(RoundId(1))
    other = commitments_document(RoundId(1), {signer(0).address: b"\1" * 32})
    root = name_of("commitments", other)
    bench.ledger.rounds[1] = replace(found, commitments_root=root)
    with pytest.raises(Exception, match=f"commitments {root.hex()}: missing"):
        bench.restarted().open_round()
