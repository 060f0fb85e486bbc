import numpy as np
import pytest
from pydantic import TypeAdapter

from coordinator.protocol.types import RoundId, UpdateMessage
from simulations.attacks.behaviours import HONEST, Reply, UpdateContext, behaviour_of, copy_source
from simulations.experiment import BehaviourConfig
from simulations.seeds import generator

UPDATE = np.array([5, -2, 0, 1000], np.int32)
MESSAGE = UpdateMessage(RoundId(4), b"b" * 32, b"u" * 32, 12, b"m" * 32)
REPLY = Reply(UPDATE, bytes(range(65)))


def config(kind, **options):
    return TypeAdapter(BehaviourConfig).validate_python({"kind": kind, "clients": [1], **options})


def behaviour(kind, **options):
    return behaviour_of([config(kind, **options)], 1, 1)


def shaped(kind, update=UPDATE, copied=None, **options):
    context = UpdateContext(generator(7, "behaviour", 1, 1), copied)
    before = update.copy()
    result = behaviour(kind, **options).shape_update(update, context)
    np.testing.assert_array_equal(update, before)
    assert result.dtype == np.int32
    assert result.shape == update.shape
    return result


def hooks(found):
    """Whatever of the four hooks changes something, by name."""
    context = UpdateContext(generator(1, "x"), None)
    changed = {
        "shape_update": not np.array_equal(found.shape_update(UPDATE, context), UPDATE),
        "shape_message": found.shape_message(MESSAGE) != MESSAGE,
        "second_update": found.second_update(UPDATE) is not None,
        "corrupt_reply": found.corrupt_reply(REPLY) is not REPLY,
    }
    return [name for name, is_changed in changed.items() if is_changed]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("replay", ["shape_update"]),
        ("copy", ["shape_update"]),
        ("noise", ["shape_update"]),
        ("sign_flip", ["shape_update"]),
        ("out_of_range", ["shape_update"]),
        ("inflate_examples", ["shape_message"]),
        ("wrong_round", ["shape_message"]),
        ("equivocate", ["second_update"]),
        ("nan", ["corrupt_reply"]),
        ("wrong_shape", ["corrupt_reply"]),
        ("bad_signature", ["corrupt_reply"]),
        ("silent", ["corrupt_reply"]),
        ("unbonded", []),
    ],
)
def test_each_kind_changes_its_own_hook_and_no_other(kind, changed):
    found = behaviour(kind)
    assert hooks(found) == changed
    assert found.label == kind
    assert found.bonds == (kind != "unbonded")
    assert found.trains == (kind not in ("replay", "copy", "silent"))
    assert found.copies == (kind == "copy")


def test_the_honest_change_nothing():
    assert hooks(HONEST) == []
    assert (HONEST.label, HONEST.bonds, HONEST.trains, HONEST.copies) == (
        "honest",
        True,
        True,
        False,
    )


def test_replay_sends_zeros():
    assert shaped("replay").tolist() == [0, 0, 0, 0]


def test_copy_takes_what_it_is_given_or_nothing():
    other = np.array([9, 8, 7, 6], np.int32)
    taken = shaped("copy", copied=other)
    assert taken.tolist() == [9, 8, 7, 6]
    assert taken is not other
    assert shaped("copy").tolist() == [0, 0, 0, 0]


def test_a_copier_takes_the_lowest_other_number():
    assert copy_source(3, {5, 3, 9}) == 5
    assert copy_source(5, {5, 3, 9}) == 3
    assert copy_source(3, {3}) is None
    assert copy_source(3, ()) is None


def test_noise_has_the_length_it_is_told_and_its_own_draws():
    update = np.full(10_000, 300, np.int32)
    noise = shaped("noise", update, scale=2.0).astype(np.float64)
    assert np.linalg.norm(noise) == pytest.approx(2 * 300 * 100, rel=1e-4)
    assert abs(np.dot(noise, update)) / (np.linalg.norm(noise) * 30_000) < 0.05
    np.testing.assert_array_equal(noise, shaped("noise", update, scale=2.0))


def test_sign_flip_scales_and_stays_within_int32():
    assert shaped("sign_flip").tolist() == [-5, 2, 0, -1000]
    assert shaped("sign_flip", scale=1.5).tolist() == [-8, 3, 0, -1500]  # 7.5 rounds to even
    limits = np.array([-(2**31), 2**31 - 1], np.int32)
    assert shaped("sign_flip", limits).tolist() == [2**31 - 1, -(2**31) + 1]


def test_out_of_range_is_at_the_ends_of_int32():
    assert shaped("out_of_range").tolist() == [2**31 - 1, -(2**31), 2**31 - 1, 2**31 - 1]


@pytest.mark.parametrize(
    ("first", "second"), [(5, 4), (-5, -4), (0, 1), (2**31 - 1, 2**31 - 2), (-(2**31), 1 - 2**31)]
)
def test_an_equivocator_signs_another_update_within_int32(first, second):
    update = np.array([first, 7], np.int32)
    found = behaviour("equivocate").second_update(update)
    assert found.tolist() == [second, 7]
    assert found.dtype == np.int32
    assert update.tolist() == [first, 7]


def test_messages_lie_about_one_thing():
    inflated = behaviour("inflate_examples", examples=10**6).shape_message(MESSAGE)
    assert inflated == UpdateMessage(RoundId(4), b"b" * 32, b"u" * 32, 10**6, b"m" * 32)
    assert behaviour("wrong_round").shape_message(MESSAGE).round_id == 3


def test_replies_are_corrupted_after_signing():
    nan = behaviour("nan").corrupt_reply(REPLY)
    assert nan.vector.dtype == np.float32
    assert np.isnan(nan.vector).tolist() == [True, False, False, False]
    assert behaviour("wrong_shape").corrupt_reply(REPLY).vector.tolist() == [5, -2, 0]
    signature = behaviour("bad_signature").corrupt_reply(REPLY).signature
    assert signature == b"\x01" + REPLY.signature[1:]
    assert behaviour("silent").corrupt_reply(REPLY) is None
    assert REPLY.vector.tolist() == UPDATE.tolist()


def test_a_client_is_honest_before_its_round_and_unless_named():
    configs = [config("replay", from_round=3), config("noise", clients=[2, 5])]
    assert behaviour_of(configs, 1, 2) is HONEST
    assert behaviour_of(configs, 1, 3).label == "replay"
    assert behaviour_of(configs, 1).label == "replay"
    assert behaviour_of(configs, 5, 1).label == "noise"
    assert behaviour_of(configs, 0, 9) is HONEST
