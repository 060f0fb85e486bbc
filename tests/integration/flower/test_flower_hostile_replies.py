"""Replies that break or capture Flower's own strategies are refused here, one by one.

Every case runs twice: through ``ServiceStrategy``, where the round must be sealed from the
honest rest and the reply be on record with its reason; and, in Flower's own form, through plain
``FedAvg``, to show that the attack is real.
"""

import io
import math
import warnings

import numpy as np
import pytest
from flower_bench import (
    INITIAL,
    MANIFEST,
    LocalGrid,
    initial_arrays,
    local_apps,
    make_bench,
    signer,
)
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import FedAvg

from coordinator.flower.strategy import ServiceStrategy
from coordinator.protocol import wire
from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.types import RoundId, UpdateMessage

ATTACKER = 2
SCALE = 1 << 20


def run_with(hostile, *, rounds=1, **changes):
    """Run rounds in which the attacker's replies are what ``hostile`` makes of its honest one."""
    bench = make_bench(**changes)

    def deliver(message, answer):
        reply = answer(message)
        if message.metadata.dst_node_id != ATTACKER or message.metadata.message_type != "train":
            return [reply]
        return hostile(reply, message)

    strategy = ServiceStrategy(bench.service, fraction_evaluate=0.0)
    grid = LocalGrid(local_apps(bench), deliver)
    result = strategy.start(grid, initial_arrays(), num_rounds=rounds)
    return bench, strategy.outcome, result


def honest_rest():
    """Return the model's bias after a round of clients 1, 2, 3 alone (20, 30, 40 examples)."""
    step = round((20 * 2 + 30 * 3 + 40 * 4) / (90 * 8) * SCALE) / SCALE
    return [pytest.approx(-1 + step, abs=2 / SCALE), pytest.approx(0.5 + step, abs=2 / SCALE)]


def changed(**records):
    """Return a hostile party that replaces (or, by ``None``, drops) records of its reply."""

    def hostile(reply, message):
        content = dict(reply.content.items())
        for name, record in records.items():
            if record is None:
                content.pop(name, None)
            else:
                content[name] = record(content.get(name)) if callable(record) else record
        return [Message(RecordDict(content), reply_to=message)]

    return hostile


def update_array(values, **fields):
    """Return the arrays record of another update; ``fields`` lie about it."""
    array = Array(np.asarray(values))
    for name, value in fields.items():
        setattr(array, name, value)
    return ArrayRecord({wire.UPDATE_ARRAY: array})


def npy_claiming(shape):
    """Return a 128-byte array that says it holds ``shape``."""
    head = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.int32))
    head["shape"] = shape
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, head)
    return out.getvalue()


def statement(**fields):
    return lambda record: ConfigRecord({**dict(record), **fields})


def without(name):
    return lambda record: ConfigRecord({k: v for k, v in record.items() if k != name})


def metrics(**fields):
    names = {"num_examples": "num-examples"}
    return lambda record: MetricRecord(
        {**dict(record), **{names.get(k, k): v for k, v in fields.items()}}
    )


OBJECTS = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '|O', 'fortran_order': False, 'shape': (8,), }".ljust(117) + b"\n"
)

REFUSED = {
    "float32 with a NaN": (
        changed(arrays=update_array(np.array([np.nan] * 8, np.float32))),
        "wrong-dtype",
    ),
    "float32 said to be int32": (
        changed(arrays=update_array(np.full(8, np.nan, np.float32), dtype="int32")),
        "wrong-dtype",
    ),
    "int64": (changed(arrays=update_array(np.zeros(8, np.int64))), "wrong-dtype"),
    "big-endian": (changed(arrays=update_array(np.zeros(8, ">i4"), dtype="int32")), "wrong-dtype"),
    "pickled objects": (
        changed(arrays=update_array(np.zeros(8, np.int32), data=OBJECTS + bytes(32))),
        "wrong-dtype",
    ),
    "shape (1,)": (changed(arrays=update_array(np.zeros(1, np.int32))), "wrong-shape"),
    "shape (2, 4)": (changed(arrays=update_array(np.zeros((2, 4), np.int32))), "wrong-shape"),
    "shape (1,) said to be (8,)": (
        changed(arrays=update_array(np.zeros(1, np.int32), shape=(8,))),
        "wrong-shape",
    ),
    "a size nobody could hold": (
        changed(arrays=update_array(np.zeros(8, np.int32), shape=(10**15,))),
        "wrong-shape",
    ),
    "a header that claims it": (
        changed(arrays=update_array(np.zeros(8, np.int32), data=npy_claiming((10**15,)))),
        "wrong-shape",
    ),
    "one value short inside": (
        changed(arrays=update_array(np.zeros(8, np.int32), data=npy_claiming((8,)) + bytes(28))),
        "wrong-size",
    ),
    "far too many bytes": (
        changed(arrays=update_array(np.zeros(8, np.int32), data=npy_claiming((8,)) + bytes(10**6))),
        "wrong-size",
    ),
    "garbage bytes": (
        changed(arrays=update_array(np.zeros(8, np.int32), data=b"\x80\x04garbage")),
        "malformed-array",
    ),
    "no bytes": (changed(arrays=update_array(np.zeros(8, np.int32), data=b"")), "malformed-array"),
    "another serialisation": (
        changed(arrays=update_array(np.zeros(8, np.int32), stype="pickle")),
        "malformed-array",
    ),
    "wrong tensor names": (changed(arrays=initial_arrays()), "wrong-records"),
    "two arrays": (
        changed(arrays=lambda r: ArrayRecord({**dict(r), "more": Array(np.zeros(1))})),
        "wrong-records",
    ),
    "a second array record": (changed(more=initial_arrays()), "wrong-records"),
    "no arrays": (changed(arrays=None), "wrong-records"),
    "no metrics": (changed(metrics=None), "wrong-records"),
    "a second metric record": (changed(more=MetricRecord({"num-examples": 1})), "wrong-records"),
    "no statement": (changed(fedproof=None), "wrong-records"),
    "a statement that is metrics": (
        changed(metrics=None, fedproof=MetricRecord({"num-examples": 1})),
        "wrong-records",
    ),
    "a hundred records": (
        changed(**{f"r{i}": ConfigRecord({"x": 1}) for i in range(100)}),
        "wrong-records",
    ),
    "no example count": (changed(metrics=MetricRecord({"loss": 1.0})), "missing-examples"),
    "half an example": (changed(metrics=metrics(num_examples=0.5)), "bad-examples"),
    "no examples": (changed(metrics=metrics(num_examples=0)), "bad-examples"),
    "negative examples": (changed(metrics=metrics(num_examples=-(10**9))), "bad-examples"),
    "2^63 examples": (changed(metrics=metrics(num_examples=2**63)), "bad-examples"),
    "a list of examples": (changed(metrics=metrics(num_examples=[1, 2])), "bad-examples"),
    "more examples than signed": (changed(metrics=metrics(num_examples=10**9)), "wrong-examples"),
    "a NaN metric": (changed(metrics=metrics(loss=math.nan)), "bad-metrics"),
    "a thousand metrics": (
        changed(metrics=metrics(**{f"m{i}": 1.0 for i in range(1000)})),
        "bad-metrics",
    ),
    "other metrics than signed": (changed(metrics=metrics(loss=0.5)), "wrong-metrics"),
    "a statement short of a field": (changed(fedproof=without("signature")), "malformed-statement"),
    "a statement with one more": (changed(fedproof=statement(more=1)), "malformed-statement"),
    "another version": (changed(fedproof=statement(version=2)), "malformed-statement"),
    "a round of text": (changed(fedproof=statement(round="1")), "malformed-statement"),
    "a negative round": (changed(fedproof=statement(round=-1)), "malformed-statement"),
    "a boolean round": (changed(fedproof=statement(round=True)), "malformed-statement"),
    "a short signature": (changed(fedproof=statement(signature="00")), "malformed-statement"),
    "no address": (changed(fedproof=statement(contributor="x" * 42)), "malformed-statement"),
    "a wrong checksum": (
        changed(fedproof=statement(contributor=signer(0).address.lower())),
        "malformed-statement",
    ),
    "nothing at all": (lambda _r, m: [Message(RecordDict(), reply_to=m)], "empty-reply"),
    "an error": (
        lambda _r, m: [Message(Error(2, "ValueError: \x1b[2J no data"), reply_to=m)],
        "client-error",
    ),
    "an error without reason": (lambda _r, m: [Message(Error(0), reply_to=m)], "client-error"),
    "silence": (lambda _r, _m: [], "no-reply"),
}


@pytest.mark.parametrize(("hostile", "code"), REFUSED.values(), ids=REFUSED)
def test_a_hostile_reply_is_refused_and_the_round_goes_on(hostile, code):
    bench, outcome, result = run_with(hostile)
    assert outcome.status == "sealed"
    assert bench.refusals(1) == {f"node {ATTACKER}": code}
    assert signer(0).address not in outcome.accepted
    assert len(outcome.accepted) == 3
    assert result.arrays["layer.bias"].numpy().tolist() == honest_rest()


def resigned(key=0, **fields):
    """Return a hostile party that signs other fields, and signs them properly."""

    def hostile(reply, message):
        signed = dict(reply.content["fedproof"])
        told = {"num-examples": fields.get("examples", 10), "loss": 0.25}
        values = {
            "round_id": RoundId(signed["round"]),
            "base_model": bytes.fromhex(signed["base-model"]),
            "update": bytes.fromhex(signed["update"]),
            "examples": told["num-examples"],
            "metrics_hash": metrics_hash(told),
            **fields,
        }
        made = signer(key).sign(make_bench().ledger.domain(), UpdateMessage(**values))
        record = {
            **signed,
            "round": int(values["round_id"]),
            "base-model": values["base_model"].hex(),
            "update": values["update"].hex(),
            "examples": values["examples"],
            "metrics-hash": values["metrics_hash"].hex(),
            "contributor": made.signer,
            "signature": made.signature.hex(),
        }
        content = {**dict(reply.content.items())}
        content |= {"fedproof": ConfigRecord(record), "metrics": MetricRecord(told)}
        return [Message(RecordDict(content), reply_to=message)]

    return hostile


def _bad_signature(reply, message):
    record = dict(reply.content["fedproof"])
    signature = bytearray.fromhex(record["signature"])
    signature[5] ^= 1
    return changed(fedproof=ConfigRecord({**record, "signature": signature.hex()}))(reply, message)


SCREENED = {
    "a signature of nothing": (_bad_signature, {"wrong-signer", "unrecoverable"}),
    "the round before": (resigned(round_id=RoundId(0)), {"wrong-round"}),
    "a round to come": (resigned(round_id=RoundId(7)), {"wrong-round"}),
    "another base model": (resigned(base_model=b"\3" * 32), {"wrong-base-model"}),
    "another update than signed": (resigned(update=b"\3" * 32), {"wrong-root"}),
    "nobody bonded": (resigned(key=99), {"not-bonded"}),
    "2^50 examples": (resigned(examples=2**50), {"examples-out-of-range"}),
}


@pytest.mark.parametrize(("hostile", "codes"), SCREENED.values(), ids=SCREENED)
def test_a_well_formed_lie_is_refused_by_the_service(hostile, codes):
    bench, outcome, result = run_with(hostile)
    assert outcome.status == "sealed"
    (code,) = bench.refusals(1).values()
    assert code in codes
    assert len(outcome.accepted) == 3
    assert result.arrays["layer.bias"].numpy().tolist() == honest_rest()


def test_a_billion_examples_count_as_the_rules_cap():
    bench, outcome, result = run_with(resigned(examples=10**9))
    # capped at 100: (100*1 + 20*2 + 30*3 + 40*4) / (190*8)
    step = 390 / (190 * 8)
    assert bench.refusals(1) == {}
    assert len(outcome.accepted) == 4
    assert result.arrays["layer.bias"].numpy()[1] == pytest.approx(0.5 + step, abs=2 / SCALE)


def test_the_error_of_a_dead_client_is_laid_at_its_own_door():
    """Flower's SuperLink sends such errors as node 1, whoever they are about."""

    def hostile(_reply, message):
        error = Message(Error(5, "node unavailable"), reply_to=message)
        vars(error.metadata)["_src_node_id"] = 1
        return [error]

    bench, _outcome, _result = run_with(hostile)
    assert bench.refusals(1) == {f"node {ATTACKER}": "client-error"}


def test_replies_to_other_messages_are_refused():
    def hostile(reply, message):
        stray = Message(reply.content, reply_to=message)
        vars(stray.metadata)["_reply_to_message_id"] = "made up"
        posing = Message(reply.content, reply_to=message)
        vars(posing.metadata)["_src_node_id"] = 5
        asked = Message(reply.content, reply_to=message)
        vars(asked.metadata)["_message_type"] = "evaluate"
        return [stray, posing, asked]

    bench, outcome, _result = run_with(hostile)
    codes = sorted(row["code"] for row in bench.journal.entries[1]["refusals"])
    assert codes == ["unsolicited-reply", "wrong-message-type", "wrong-sender"]
    assert len(outcome.accepted) == 3


def test_the_same_reply_twice_counts_once():
    _bench, alone, _result = run_with(lambda reply, _message: [reply])
    bench, outcome, _result = run_with(lambda reply, _message: [reply, reply])
    assert outcome.model_root == alone.model_root
    assert bench.refusals(1) == {}


def test_two_different_updates_cost_the_bond_and_the_round_goes_on():
    bench, outcome, result = run_with(lambda reply, message: [reply, *other_update(reply, message)])
    assert len(outcome.accepted) == 3
    assert bench.refusals(1) == {signer(0).address: "equivocation"}
    assert bench.ledger.slashed == {(1, signer(0).address): 10**18}
    assert result.arrays["layer.bias"].numpy().tolist() == honest_rest()


def other_update(reply, message):
    vector = np.arange(8, dtype=np.int32)
    (second,) = resigned(update=parameter_root(vector, MANIFEST))(reply, message)
    second.content["arrays"] = update_array(vector)
    return [second]


def test_a_reply_of_the_round_before_is_refused():
    kept = []

    def hostile(reply, message):
        kept.append(reply)
        old = Message(kept[0].content, reply_to=message)
        return [old]

    bench, outcome, _result = run_with(hostile, rounds=2)
    assert bench.refusals(1) == {}
    assert list(bench.refusals(2).values()) == ["wrong-round"]
    assert len(outcome.accepted) == 3


def test_hostile_evaluation_replies_decide_nothing():
    def deliver(message, answer):
        reply = answer(message)
        if message.metadata.message_type == "train" or message.metadata.dst_node_id != ATTACKER:
            return [reply]
        lies = [
            MetricRecord({"num-examples": 10**9, "total": math.nan}),
            MetricRecord({"total": 1.0}),
            MetricRecord({"num-examples": -5, "total": 1.0}),
        ]
        made = [Message(RecordDict({"metrics": lie}), reply_to=message) for lie in lies]
        return [
            *made,
            Message(Error(2, "x"), reply_to=message),
            Message(RecordDict(), reply_to=message),
        ]

    bench = make_bench()
    result = ServiceStrategy(bench.service).start(
        LocalGrid(local_apps(bench), deliver), initial_arrays(), num_rounds=1
    )
    # four honest numbers of one model: parameters sum to 15/4 - 1/2, and 8 times 3/8 is added
    assert result.evaluate_metrics_clientapp[1]["total"] == pytest.approx(15 / 4 - 0.5 + 3)


# --- the same attacks on plain FedAvg ---------------------------------------------------------


def plain_replies(attack):
    """Return three honest replies in Flower's own form, and what ``attack`` makes of a fourth."""

    def reply(arrays, told):
        asked = Message(RecordDict(), 7, "train")
        return Message(
            RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(told)}),
            reply_to=asked,
        )

    honest = {name: Array(values + 1) for name, values in INITIAL.items()}
    arrays, told = dict(honest), {"num-examples": 10}
    attack(arrays, told)
    return [reply(honest, {"num-examples": 10}) for _ in range(3)] + [reply(arrays, told)]


def aggregate(attack):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays, _ = FedAvg().aggregate_train(1, plain_replies(attack))
    return {name: array.numpy() for name, array in arrays.items()}


def test_fedavg_takes_a_nan_for_a_model():
    def attack(arrays, _told):
        arrays["layer.bias"] = Array(np.array([np.nan, 0], np.float32))

    assert np.isnan(aggregate(attack)["layer.bias"][0])


def test_fedavg_ends_the_run_on_other_tensor_names():
    def attack(arrays, _told):
        arrays["more"] = Array(np.zeros(1))

    with pytest.raises(InconsistentMessageReplies):
        aggregate(attack)


def test_fedavg_raises_on_another_shape():
    def attack(arrays, _told):
        arrays["layer.bias"] = Array(np.zeros(3, np.float32))

    with pytest.raises(ValueError, match="broadcast"):
        aggregate(attack)


def test_fedavg_broadcasts_a_single_value():
    def attack(arrays, _told):
        arrays["layer.bias"] = Array(np.array([400.0], np.float32))

    assert aggregate(attack)["layer.bias"].tolist() == [100.0, pytest.approx(101.125)]


def test_fedavg_is_taken_over_by_a_billion_examples():
    def attack(arrays, told):
        arrays["layer.bias"] = Array(np.array([66.0, 66.0], np.float32))
        told["num-examples"] = 10**9

    assert aggregate(attack)["layer.bias"] == pytest.approx([66, 66], abs=1e-3)


def test_fedavg_divides_by_a_sum_of_weights_that_is_zero():
    def attack(_arrays, told):
        told["num-examples"] = -30

    with pytest.raises(ZeroDivisionError):
        aggregate(attack)


def test_fedavg_ends_the_run_without_an_example_count():
    def attack(_arrays, told):
        told["n"] = told.pop("num-examples")

    with pytest.raises(InconsistentMessageReplies):
        aggregate(attack)


def test_fedavg_blames_node_one_for_another_nodes_error():
    asked = Message(RecordDict(), 7, "train")
    error = Message(Error(5, "node unavailable"), reply_to=asked)
    vars(error.metadata)["_src_node_id"] = 1
    _valid, errors = FedAvg()._check_and_log_replies([error], is_train=True)
    assert errors[0].metadata.src_node_id == 1
