"""What each attack of a contributor changes, and what its hooks may return."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from pydantic import TypeAdapter

from coordinator.protocol.types import RoundId, UpdateMessage
from simulations.attacks.contributor import (
    CONTRIBUTOR_ATTACKS,
    AttackContext,
    BehaviourTable,
    ContributorAttack,
    LocalData,
    Reply,
    attack_of,
    behaviour_name,
)
from simulations.attacks.contributor.hooks import AttackHooks, RoundKnowledge
from simulations.errors import ExtensionError

UPDATE = np.array([5, -2, 0, 1000], np.int32)
MESSAGE = UpdateMessage(RoundId(4), b"b" * 32, b"u" * 32, 12, b"m" * 32)
REPLY = Reply(UPDATE, bytes(range(65)))
DATA = LocalData(np.zeros((3, 2), np.float32), np.array([0, 1, 2]), 3)


def config(kind, **options):
    return TypeAdapter(BehaviourTable).validate_python({"kind": kind, "clients": [1], **options})


def hooks_of(attack, client=1):
    return AttackHooks(attack, 7, client, RoundId(1), (1,))


def behaviour(kind, **options):
    attack = attack_of([config(kind, **options)], 1, 1)
    assert attack is not None
    return hooks_of(attack)


def known(published=None):
    return RoundKnowledge(np.zeros(4, np.int32), 20, published or {}, {1: UPDATE})


def shaped(kind, update=UPDATE, published=None, **options):
    before = update.copy()
    result = behaviour(kind, **options).update(update, known(published))
    np.testing.assert_array_equal(update, before)
    assert result.dtype == np.int32
    assert result.shape == update.shape
    return result


def changed_hooks(found):
    """Whatever of the hooks changes something, by name."""
    changed = {
        "data": found.data(DATA).y is not DATA.y and found.attack.changes_data,
        "update": not np.array_equal(found.update(UPDATE, known()), UPDATE),
        "statement": found.statement(MESSAGE) != MESSAGE,
        "second_update": not np.array_equal(found.second_update(UPDATE, known()), UPDATE),
        "reply": found.reply(REPLY) is not REPLY,
        "delay_s": found.delay_s("update") != 0,
    }
    return [name for name, is_changed in changed.items() if is_changed]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("replay", ["update"]),
        ("copy", ["update"]),
        ("noise", ["update"]),
        ("sign_flip", ["update"]),
        ("out_of_range", ["update"]),
        ("inflate_examples", ["statement"]),
        ("wrong_round", ["statement"]),
        ("equivocate", ["second_update"]),
        ("nan", ["reply"]),
        ("wrong_shape", ["reply"]),
        ("bad_signature", ["reply"]),
        ("silent", ["delay_s"]),
        ("unbonded", []),
        ("peek", []),
    ],
)
def test_each_kind_changes_its_own_hook_and_no_other(kind, changed):
    found = behaviour(kind)
    assert changed_hooks(found) == changed
    assert found.attack.kind == kind
    assert found.attack.bonds == (kind != "unbonded")
    assert found.attack.trains == (kind not in ("replay", "copy", "silent"))
    assert found.attack.sends_second_update == (kind == "equivocate")
    assert found.attack.overhears == (0 if kind == "peek" else None)


def test_every_attack_is_in_the_list_above():
    (mark,) = test_each_kind_changes_its_own_hook_and_no_other.pytestmark
    assert sorted(kind for kind, _ in mark.args[1]) == list(CONTRIBUTOR_ATTACKS.names())


def test_the_base_changes_nothing():
    base = ContributorAttack(kind="base", clients=[1])
    assert changed_hooks(hooks_of(base)) == []
    assert (base.bonds, base.trains, base.overhears) == (True, True, None)
    assert not base.sends_second_update
    assert not base.changes_data


def test_replay_sends_zeros():
    assert shaped("replay").tolist() == [0, 0, 0, 0]


def test_copy_takes_what_it_is_given_or_nothing():
    other = np.array([9, 8, 7, 6], np.int32)
    taken = shaped("copy", published={0: other})
    assert taken.tolist() == [9, 8, 7, 6]
    assert taken is not other
    assert shaped("copy").tolist() == [0, 0, 0, 0]


def test_a_copier_takes_the_lowest_other_number():
    published = {number: np.full(4, number, np.int32) for number in (5, 1, 9)}
    assert shaped("copy", published=published).tolist() == [5] * 4
    lowest = {number: published[number] for number in (5, 9)}
    assert shaped("copy", published={**lowest, 0: UPDATE}).tolist() == UPDATE.tolist()
    assert shaped("copy", published={1: UPDATE}).tolist() == [0] * 4


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
    found = behaviour("equivocate").second_update(update, known())
    assert found.tolist() == [second, 7]
    assert found.dtype == np.int32
    assert update.tolist() == [first, 7]


def test_messages_lie_about_one_thing():
    inflated = behaviour("inflate_examples", examples=10**6).statement(MESSAGE)
    assert inflated == UpdateMessage(RoundId(4), b"b" * 32, b"u" * 32, 10**6, b"m" * 32)
    assert behaviour("wrong_round").statement(MESSAGE).round_id == 3


def test_replies_are_corrupted_after_signing():
    nan = behaviour("nan").reply(REPLY)
    assert nan.vector.dtype == np.float32
    assert np.isnan(nan.vector).tolist() == [True, False, False, False]
    assert behaviour("wrong_shape").reply(REPLY).vector.tolist() == [5, -2, 0]
    signature = behaviour("bad_signature").reply(REPLY).signature
    assert signature == b"\x01" + REPLY.signature[1:]
    assert REPLY.vector.tolist() == UPDATE.tolist()


def test_a_client_is_honest_before_its_round_and_unless_named():
    configs = [config("replay", from_round=3), config("noise", clients=[2, 5])]
    assert attack_of(configs, 1, 2) is None
    assert attack_of(configs, 1, 3) is configs[0]
    assert attack_of(configs, 1) is configs[0]
    assert attack_of(configs, 5, 1) is configs[1]
    assert attack_of(configs, 0, 9) is None
    assert [behaviour_name(configs, n) for n in (0, 1, 2)] == ["honest", "replay", "noise"]


def test_the_silent_never_answer_at_any_stage():
    stages = ("update", "commitment", "reveal")
    assert [behaviour("silent").delay_s(stage) for stage in stages] == [None] * 3


# --- what hooks are given, and may return ---------------------------------------------------


class Odd(ContributorAttack):
    """Does whatever ``what`` says in every hook."""

    kind: Literal["odd"] = "odd"
    what: str = ""

    def change_data(self, data, context):
        match self.what:
            case "mutate":
                data.y[0] = 1
            case "raise":
                raise ValueError("no\nway")
            case "dtype":
                return replace(data, y=data.y.astype(np.int32))
            case "shape":
                return replace(data, x=data.x[:2])
            case "empty":
                return replace(data, x=data.x[:0], y=data.y[:0])
            case "label":
                return replace(data, y=data.y + 1)
            case "none":
                return None
        return replace(data, y=data.y[::-1])

    def change_update(self, update, context):
        match self.what:
            case "mutate":
                update[0] = 1
            case "dtype":
                return update * 1.0
            case "shape":
                return update[:2]
            case "none":
                return None
            case "benign":
                return sum(context.benign.values())
        return update

    def change_statement(self, message, context):
        return None if self.what == "none" else message

    def change_reply(self, reply, context):
        return None if self.what == "none" else reply

    def delay_s(self, stage, context):
        return {"negative": -1, "float": 1.5}.get(self.what, 3)


def odd(what=""):
    return hooks_of(Odd(clients=[1], what=what))


def test_a_hook_that_keeps_to_its_promises_is_heard():
    assert odd().data(DATA).y.tolist() == [2, 1, 0]
    assert odd().delay_s("reveal") == 3
    assert odd("benign").update(UPDATE, known()).tolist() == UPDATE.tolist()


@pytest.mark.parametrize(
    ("what", "hook", "message"),
    [
        ("mutate", "data", "change_data raised ValueError: assignment destination is read-only"),
        ("raise", "data", "change_data raised ValueError: no way"),
        (
            "dtype",
            "data",
            "change_data returned x of float32 (3, 2) and y of int32 (3,), expected float32 (n, 2) "
            "and int64 (n,), n >= 1",
        ),
        ("shape", "data", "change_data returned x of float32 (2, 2) and y of int64 (3,), expected"),
        ("empty", "data", "change_data returned x of float32 (0, 2) and y of int64 (0,), expected"),
        ("label", "data", "change_data returned labels from 1 to 3, expected 0 to 2"),
        ("none", "data", "change_data returned NoneType, expected LocalData"),
        ("mutate", "update", "change_update raised ValueError: assignment destination is"),
        ("dtype", "update", "change_update returned float64 (4,), expected int32 (4,)"),
        ("shape", "update", "change_update returned int32 (2,), expected int32 (4,)"),
        ("none", "update", "change_update returned NoneType, expected ndarray"),
        ("none", "statement", "change_statement returned NoneType, expected UpdateMessage"),
        ("none", "reply", "change_reply returned NoneType, expected Reply"),
        ("negative", "delay_s", "delay_s returned -1, expected None or an integer from 0"),
        ("float", "delay_s", "delay_s returned 1.5, expected None or an integer from 0"),
    ],
)
def test_a_hook_that_breaks_them_is_named(what, hook, message):
    arguments = {
        "data": (DATA,),
        "update": (UPDATE, known()),
        "statement": (MESSAGE,),
        "reply": (REPLY,),
        "delay_s": ("update",),
    }
    with pytest.raises(ExtensionError) as caught:
        getattr(odd(what), hook)(*arguments[hook])
    assert str(caught.value).startswith(f'behaviours.kind = "odd", client 1, round 1: {message}')


class Draws(ContributorAttack):
    """Sends draws: its own, or those that colluders share."""

    kind: Literal["draws"] = "draws"
    shared: bool = False

    def change_update(self, update, context: AttackContext):
        chance = context.shared_generator if self.shared else context.generator
        return chance.integers(0, 2**31, update.shape).astype(np.int32)


def test_colluders_share_one_generator_and_have_one_each():
    def drawn(client, shared, clients=(1, 2)):
        attack = Draws(clients=list(clients), shared=shared)
        return hooks_of(attack, client).update(UPDATE, known()).tolist()

    assert drawn(1, True) == drawn(2, True) != drawn(3, True, clients=(3,))
    assert drawn(1, False) != drawn(2, False)
    assert drawn(1, False) == drawn(1, False) != drawn(1, True)
