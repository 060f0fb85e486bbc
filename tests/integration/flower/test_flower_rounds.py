"""Whole rounds through strategy and mod, in one process, on in-memory ports."""

from dataclasses import replace

import numpy as np
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
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from clients.mod.chain_view import StaticChainView
from clients.mod.journal import MemoryJournal
from clients.mod.verifiable_updates import Participant, VerifiableUpdates
from coordinator.flower.strategy import RoundReport, ServiceStrategy
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.evidence import judge
from coordinator.protocol.numbers.fixed_point import dequantise, quantise
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import RoundId, SigningDomain
from coordinator.stores.instructions import MemoryInstructions

SCALE = 1 << 20


def run(bench, grid, **options):
    reports: list[RoundReport] = []
    strategy = ServiceStrategy(bench.service, on_round=reports.append, **options)
    result = strategy.start(grid, initial_arrays(), num_rounds=2)
    return reports, result


def test_a_round_gives_the_weighted_mean_by_hand():
    bench = make_bench()
    reports, result = run(bench, LocalGrid(local_apps(bench)))
    # updates are 1/8, 2/8, 3/8, 4/8 with 10, 20, 30, 40 examples: mean (1+4+9+16)/80 = 3/8
    step = 3 * SCALE // 8
    base = quantise(INITIAL, MANIFEST)
    assert [r.outcome.status for r in reports] == ["sealed", "sealed"]
    assert reports[0].outcome.model.tolist() == (base + step).tolist()
    assert reports[1].outcome.model.tolist() == (base + 2 * step).tolist()
    assert result.arrays["layer.bias"].numpy().tolist() == [-0.25, 1.25]
    assert bench.ledger.round(RoundId(2)).new_model_root == reports[1].outcome.model_root
    assert reports[0].train_metrics == {"loss": 0.25}
    assert result.evaluate_metrics_clientapp[1]["total"] == pytest.approx(
        float(sum(v.sum() for v in dequantise(base + step, MANIFEST).values()))
    )


def test_an_app_sees_what_any_strategy_would_send():
    bench = make_bench()
    seen: list[Message] = []

    def look(message, context, call_next):
        seen.append(message)
        return call_next(message, context)

    apps = local_apps(bench)
    apps[2] = app_with([apps[2]._mods[0], look])
    config = ConfigRecord({"lr": 0.5})
    ServiceStrategy(bench.service).start(
        LocalGrid(apps), initial_arrays(), num_rounds=1, train_config=config
    )
    content = seen[0].content
    assert sorted(content) == ["arrays", "config"]
    assert dict(content.config_records["config"]) == {"lr": 0.5, "server-round": 1}
    arrays = content.array_records["arrays"]
    assert list(arrays) == list(INITIAL)
    for name, values in INITIAL.items():
        assert np.array_equal(arrays[name].numpy(), values)


def test_integer_buffers_travel_beside_the_vector_and_come_back_as_they_were():
    bench = make_bench()
    arrays = initial_arrays()
    ordered = ArrayRecord(
        {
            "layer.weight": arrays["layer.weight"],
            "steps": Array(np.array(7)),
            "layer.bias": arrays["layer.bias"],
        }
    )
    seen = []

    def look(message, context, call_next):
        if message.metadata.message_type == "train":
            seen.append(message.content.array_records["arrays"])
        return call_next(message, context)

    apps = local_apps(bench)
    apps[3] = app_with([apps[3]._mods[0], look])
    result = ServiceStrategy(bench.service).start(LocalGrid(apps), ordered, num_rounds=1)
    assert list(seen[0]) == ["layer.weight", "steps", "layer.bias"]
    assert list(result.arrays) == ["layer.weight", "steps", "layer.bias"]
    assert result.arrays["steps"].numpy() == 7
    assert bench.refusals(1) == {}


def test_too_few_valid_updates_void_the_round_and_training_goes_on():
    bench = make_bench()

    def only_the_second_time(message, answer):
        late = message.metadata.group_id == "2" or message.metadata.dst_node_id == 2
        return [answer(message)] if late else []

    reports, result = run(bench, LocalGrid(local_apps(bench), only_the_second_time))
    assert [(r.outcome.status, len(r.outcome.accepted)) for r in reports] == [
        ("void", 0),
        ("sealed", 4),
    ]
    assert bench.refusals(1) == {f"node {n}": "no-reply" for n in (3, 4, 5)}
    assert result.arrays["layer.bias"].numpy().tolist() == [-0.625, 0.875]
    assert list(result.train_metrics_clientapp) == [2]


def test_a_resumed_run_goes_on_with_the_round_the_ledger_does_not_hold():
    undisturbed = make_bench()
    whole, _ = run(undisturbed, LocalGrid(local_apps(undisturbed)))
    bench = make_bench()
    ServiceStrategy(bench.service).start(
        LocalGrid(local_apps(bench)), initial_arrays(), num_rounds=1
    )
    reports, _ = run(bench, LocalGrid(local_apps(bench)), completed_rounds=1)
    assert [r.server_round for r in reports] == [2]
    assert reports[0].outcome.model_root == whole[1].outcome.model_root


def test_another_initial_model_than_agreed_is_refused():
    bench = make_bench()
    arrays = initial_arrays()
    arrays["layer.bias"] = Array(np.zeros(2, np.float32))
    with pytest.raises(ConfigError, match="the model the federation agreed on"):
        ServiceStrategy(bench.service).start(LocalGrid(local_apps(bench)), arrays)


def test_another_architecture_than_agreed_is_refused():
    bench = make_bench()
    arrays = ArrayRecord({"other": Array(np.zeros(8, np.float32))})
    with pytest.raises(ConfigError, match="1 tensors with 8 parameters"):
        ServiceStrategy(bench.service).start(LocalGrid(local_apps(bench)), arrays)


def test_a_reserved_key_in_the_users_config_is_refused():
    bench = make_bench()
    with pytest.raises(ConfigError, match="reserved"):
        ServiceStrategy(bench.service).start(
            LocalGrid(local_apps(bench)),
            initial_arrays(),
            train_config=ConfigRecord({"fedproof.round": 3}),
        )


def test_the_cohort_depends_on_seed_and_round_only():
    cohorts = []
    for _ in range(2):
        bench = make_bench(clients=12)
        grid = LocalGrid(local_apps(bench, 12))
        strategy = ServiceStrategy(
            bench.service, fraction_train=0.25, fraction_evaluate=0.0, seed=5
        )
        strategy.start(grid, initial_arrays(), num_rounds=3)
        cohorts.append([(m.metadata.group_id, m.metadata.dst_node_id) for m in grid.sent])
    assert cohorts[0] == cohorts[1]
    by_round = [{n for g, n in cohorts[0] if g == str(r)} for r in (1, 2, 3)]
    assert [len(nodes) for nodes in by_round] == [3, 3, 3]
    assert len({frozenset(nodes) for nodes in by_round}) > 1


def test_waiting_for_nodes_ends():
    bench = make_bench()
    strategy = ServiceStrategy(bench.service, min_available_nodes=9, wait_for_nodes_s=0.0)
    strategy.start(LocalGrid(local_apps(bench)), initial_arrays(), num_rounds=1)
    assert len(strategy.outcome.accepted) == 4


# --- what a client refuses --------------------------------------------------------------------


def client_refusals(bench, view=None, participant=None, tamper=None):
    """Run one round in which client 0 gets another view, or a tampered message."""
    apps = local_apps(bench)
    if view is not None:
        participant = Participant(signer(0), view, MemoryJournal())
    if participant is not None:
        apps[2] = app_with([VerifiableUpdates(participant)])

    def deliver(message, answer):
        if tamper is not None and message.metadata.dst_node_id == 2:
            content = RecordDict({name: record.copy() for name, record in message.content.items()})
            tamper(content)
            changed = Message(content, reply_to=message)
            vars(changed)["_metadata"] = message.metadata
            return [answer(changed)]
        return [answer(message)]

    strategy = ServiceStrategy(bench.service, fraction_evaluate=0.0)
    strategy.start(LocalGrid(apps, deliver), initial_arrays(), num_rounds=1)
    assert strategy.outcome.status == "sealed"
    assert len(strategy.outcome.accepted) == 3
    return bench.refusals(1)


def facts(bench, **changes):
    root = bench.ledger.initial_model_root
    rule_hash = bench.service._rule_hash
    opened = ChainRound(RoundId(1), RoundStatus.OPEN, root, rule_hash, deadline=1)
    return replace(opened, **changes)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_root": b"\1" * 32}, "wrong-model-root"),
        ({"rule_hash": b"\1" * 32}, "wrong-rule"),
        ({"status": RoundStatus.SEALED}, "round-not-open"),
        ({"status": RoundStatus.NONE}, "round-not-open"),
        ({"deadline": 1}, "wrong-deadline"),
    ],
)
def test_a_client_refuses_what_the_chain_does_not_say(changes, code):
    bench = make_bench()
    view = StaticChainView(DOMAIN, {RoundId(1): facts(bench, **changes)})
    assert client_refusals(bench, view) == {"node 2": code}


def test_a_client_signs_for_its_own_federation_only():
    bench = make_bench()
    view = StaticChainView(SigningDomain(1, DOMAIN.verifying_contract), {RoundId(1): facts(bench)})
    assert client_refusals(bench, view) == {"node 2": "wrong-domain"}


def test_a_client_takes_part_under_the_rule_it_agreed_to_only():
    bench = make_bench()
    participant = Participant(signer(0), bench.chain_view, MemoryJournal(), rule_hash=b"\7" * 32)
    assert client_refusals(bench, participant=participant) == {"node 2": "wrong-rule"}


def test_a_client_never_signs_a_second_different_update():
    bench = make_bench()
    journal = MemoryJournal()
    journal.record(DOMAIN, RoundId(1), signer(0).address, b"\5" * 32)
    participant = Participant(signer(0), bench.chain_view, journal)
    assert client_refusals(bench, participant=participant) == {"node 2": "already-signed"}


def flip_a_weight(content: RecordDict) -> None:
    array = content["arrays"]["fedproof.model"]
    data = bytearray(array.data)
    data[-1] ^= 1
    content["arrays"]["fedproof.model"] = Array("int32", array.shape, array.stype, bytes(data))


def set_config(**fields):
    def tamper(content: RecordDict) -> None:
        changes = {f"fedproof.{k.replace('_', '-')}": v for k, v in fields.items()}
        content["config"] = ConfigRecord({**dict(content["config"]), **changes})

    return tamper


def as_plain_flower(content: RecordDict) -> None:
    content["arrays"] = initial_arrays()


def change_the_apps_config(content: RecordDict) -> None:
    content["config"]["server-round"] = 2


def add_a_buffer(content: RecordDict) -> None:
    content["fedproof.buffers"] = ArrayRecord({"counter": Array(np.array([1], np.int64))})


def unsigned(content: RecordDict) -> None:
    del content["config"]["fedproof.signature"]


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (flip_a_weight, "wrong-model-root"),
        (as_plain_flower, "not-fedproof"),
        (set_config(version=2), "unsupported-version"),
        (set_config(manifest="{}"), "malformed-instruction"),
        (set_config(manifest="[" * 100_000), "malformed-instruction"),
        (set_config(round="1"), "malformed-instruction"),
        (set_config(base_model="00"), "malformed-instruction"),
        (set_config(base_model="11" * 32), "wrong-instruction-signature"),
        (set_config(tensor_order=["layer.bias"]), "malformed-instruction"),
        (set_config(chain_id=7), "wrong-domain"),
        (set_config(rule_hash="22" * 32), "wrong-instruction-signature"),
        (set_config(deadline=1), "wrong-instruction-signature"),
        (set_config(signature="00" * 65), "wrong-instruction-signature"),
        (set_config(signature="zz"), "malformed-instruction"),
        (set_config(sealed=1), "wrong-instruction-signature"),
        (set_config(tensor_order=["layer.bias", "layer.weight"]), "wrong-instruction-signature"),
        (change_the_apps_config, "wrong-instruction-signature"),
        (add_a_buffer, "malformed-instruction"),
        (unsigned, "unsigned-instruction"),
    ],
)
def test_a_client_refuses_a_tampered_instruction(tamper, code):
    assert client_refusals(make_bench(), tamper=tamper) == {"node 2": code}


def told(bench, arrays=None, **config):
    """Return the train messages of a strategy that opens, or goes on with, round 1."""
    strategy = ServiceStrategy(bench.service)
    grid = LocalGrid(local_apps(bench))
    arrays = arrays or initial_arrays()
    return list(strategy.configure_train(1, arrays, ConfigRecord(config), grid))


def test_everybody_is_sent_the_same_and_after_a_restart_the_very_same_again(caplog):
    bench = make_bench()
    messages = told(bench, lr=0.1)
    assert len({id(message.content) for message in messages}) == 1
    bench.restarted()
    assert dict(told(bench, lr=0.1)[0].content["config"]) == dict(messages[0].content["config"])
    assert "was signed before" not in caplog.text
    bench.restarted()
    again = told(bench, lr=0.2)  # its settings were changed meanwhile: for the next round
    assert dict(again[0].content["config"]) == dict(messages[0].content["config"])
    assert again[0].content["config"]["lr"] == 0.1
    assert "round 1: another train instruction was signed before" in caplog.text
    (reply,) = LocalGrid(local_apps(bench)).send_and_receive(again[:1])
    assert not reply.has_error()


def test_a_restart_with_another_model_sends_nothing_for_the_round_in_hand():
    bench = make_bench()
    told(bench)
    bench.restarted()
    arrays = initial_arrays()
    arrays["counter"] = Array(np.array([3], np.int64))
    with pytest.raises(ConfigError, match="round 1: an instruction with another tensor_order, buf"):
        told(bench, arrays)


def test_an_evaluation_is_signed_too():
    bench = make_bench()
    refused = []

    def deliver(message, answer):
        if message.metadata.message_type == "evaluate":
            content = RecordDict({name: r.copy() for name, r in message.content.items()})
            content["config"]["server-round"] = 99
            changed = Message(content, reply_to=message)
            vars(changed)["_metadata"] = message.metadata
            refused.append(answer(changed).error.reason.partition(":")[0])
        return [answer(message)]

    reports, _ = run(bench, LocalGrid(local_apps(bench), deliver))
    assert set(refused) == {"fedproof/wrong-instruction-signature"}
    assert all(report.evaluate_metrics is not None for report in reports)


def test_of_two_instructions_for_one_evaluation_the_second_is_refused():
    """The coordinator signs both: one participant's own store has the evidence."""
    bench = make_bench()
    kept = MemoryInstructions()
    participant = Participant(signer(0), bench.chain_view, MemoryJournal(), instructions=kept)
    apps = local_apps(bench)
    apps[2] = app_with([VerifiableUpdates(participant)])
    seen = []

    def deliver(message, answer):
        if message.metadata.message_type == "evaluate" and message.metadata.dst_node_id == 2:
            seen.append(message)
        return [answer(message)]

    grid = LocalGrid(apps, deliver)
    strategy = ServiceStrategy(bench.service)
    strategy.start(grid, initial_arrays(), num_rounds=1)
    bench.instructions._kept.clear()  # a coordinator that forgets on purpose
    arrays = strategy._current_arrays()
    (other, *_) = strategy.configure_evaluate(1, arrays, ConfigRecord({"more": 1}), grid)
    assert other.metadata.dst_node_id == seen[0].metadata.dst_node_id == 2
    (reply,) = grid.send_and_receive([other])
    assert reply.error.reason.startswith(
        "fedproof/conflicting-instruction: round 1: the coordinator signed another evaluate "
    )
    pair = next(pair for slot, pair in kept._kept.items() if slot.phase == "evaluate")
    assert judge(pair).proves_equivocation


def test_a_client_trains_on_exactly_the_committed_integers():
    bench = make_bench()
    announced = bench.service.open_round()
    assert parameter_root(announced.model, MANIFEST) == bench.ledger.initial_model_root


# --- what a client's own model may not hold ------------------------------------------------------


def replying(arrays: dict, metrics: dict | None = None, second: bool = False):
    def app(message, context):
        record = ArrayRecord({name: Array(values) for name, values in arrays.items()})
        content = RecordDict({"arrays": record})
        if metrics is not None:
            content["metrics"] = MetricRecord(metrics)
        if second:
            content["more"] = record
        return Message(content, reply_to=message)

    return app


GOOD = {name: values + np.float32(0.5) for name, values in INITIAL.items()}
COUNTED = {"num-examples": 3}


def with_bias(*values):
    return {**GOOD, "layer.bias": np.array(values, np.float32)}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (
            replying({**GOOD, "layer.bias": np.array([np.nan, 0], np.float32)}, COUNTED),
            "not-finite",
        ),
        (
            replying({**GOOD, "layer.bias": np.array([np.inf, 0], np.float32)}, COUNTED),
            "not-finite",
        ),
        (
            replying({**GOOD, "layer.bias": np.array([4096, 0], np.float32)}, COUNTED),
            "out-of-range",
        ),
        (replying({"layer.bias": GOOD["layer.bias"]}, COUNTED), "missing-tensor"),
        (replying({}, COUNTED), "wrong-records"),
        (replying({**GOOD, "extra": np.zeros(1, np.float32)}, COUNTED), "extra-tensor"),
        (replying({**GOOD, "layer.bias": np.zeros(3, np.float32)}, COUNTED), "wrong-shape"),
        (replying({**GOOD, "layer.bias": np.zeros(2, np.float64)}, COUNTED), "wrong-dtype"),
        (replying(GOOD, None), "wrong-records"),
        (replying(GOOD, COUNTED, second=True), "wrong-records"),
        (replying(GOOD, {"loss": 1.0}), "missing-examples"),
        (replying(GOOD, {"num-examples": 2.5}), "bad-examples"),
        (replying(GOOD, {"num-examples": 0}), "bad-examples"),
        (replying(GOOD, {"num-examples": 1, "loss": float("nan")}), "bad-metrics"),
    ],
)
def test_a_client_refuses_to_sign_a_bad_model_of_its_own(reply, code):
    bench = make_bench()
    apps = local_apps(bench)
    mod = VerifiableUpdates(Participant(signer(0), bench.chain_view, MemoryJournal()))

    def only_training(message, context, call_next):
        if message.metadata.message_type == "train":
            return reply(message, context)
        return call_next(message, context)

    apps[2] = app_with([mod, only_training])
    strategy = ServiceStrategy(bench.service)
    strategy.start(LocalGrid(apps), initial_arrays(), num_rounds=1)
    assert bench.refusals(1) == {"node 2": code}
    assert len(strategy.outcome.accepted) == 3
