"""Learning rates by round and losses by name: by hand, and each mistake in one line."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from coordinator.settings.checked_training import check_training
from coordinator.settings.learning import Training
from coordinator.settings.losses import check_loss, loss_names, make_loss
from coordinator.settings.schedules import Schedule, schedule_names

HERE = __name__


def halved(round_id: int, learning_rate: float, *, every: int = 1) -> float:
    return learning_rate / 2 ** ((round_id - 1) // every)


def focal(logits: Tensor, labels: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Lin et al. 2017, arXiv:1708.02002."""
    each = functional.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-each)) ** gamma * each).mean()


def text(*_: Any, **__: Any) -> str:
    return "0.5"


def negative(*_: Any) -> float:
    return -1.0


def raises(*_: Any) -> float:
    raise KeyError("sick")


def constant(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.tensor(1.0)


def endless(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.sum() * math.inf


def each_example(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits, labels, reduction="none")


# --- schedules -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("steplr", {"step_size": 2, "gamma": 0.5}, [0.4, 0.4, 0.2, 0.2, 0.1]),
        ("multisteplr", {"milestones": [1, 3], "gamma": 0.5}, [0.4, 0.2, 0.2, 0.1, 0.1]),
        ("exponentiallr", {"gamma": 0.5}, [0.4, 0.2, 0.1, 0.05, 0.025]),
        ("cosineannealinglr", {"T_max": 4}, [0.4, 0.2 + 0.2 * 2**-0.5, 0.2]),
        ("linearlr", {"start_factor": 0.25, "total_iters": 3}, [0.1, 0.2, 0.3, 0.4, 0.4]),
        (f"{HERE}:halved", {"every": 2}, [0.4, 0.4, 0.2, 0.2, 0.1]),
    ],
)
def test_each_round_has_its_rate_in_any_order(
    name: str, options: dict[str, Any], expected: list[float]
) -> None:
    forwards = Schedule(name, 0.4, options)
    assert [forwards.rate(r) for r in range(1, len(expected) + 1)] == pytest.approx(expected)
    # a participant that joins late, and one that is asked again
    late = Schedule(name, 0.4, options)
    for round_id in (len(expected), 1, 2):
        assert late.rate(round_id) == forwards.rate(round_id)


def test_schedules_that_need_more_than_a_file_can_say_are_not_offered() -> None:
    names = schedule_names()
    assert {"steplr", "cosineannealinglr", "onecyclelr"} <= {*names}
    assert not {"lambdalr", "multiplicativelr", "sequentiallr", "reducelronplateau"} & {*names}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosine", {}, 'training.schedule = "cosine": expected one of '),
        (
            "steplr",
            {"size": 1},
            "training.schedule_options.size: steplr has no such option",
        ),
        ("steplr", {}, 'training.schedule = "steplr": refused by torch: '),
        (
            "cycliclr",
            {"cycle_momentum": True},
            "training.schedule_options.cycle_momentum: cycliclr",
        ),
        ("no.such:rate", {}, 'training.schedule = "no.such:rate": module no.such cannot be'),
        (f"{HERE}:HERE", {}, "found str, expected a function"),
        (f"{HERE}:text", {}, "gives '0.5' for round 1, expected a number of 0 or more"),
        (f"{HERE}:negative", {}, "gives -1.0 for round 1, expected a number of 0 or more"),
        (f"{HERE}:raises", {}, "KeyError: 'sick' (test_schedules_and_losses.py, line "),
        (f"{HERE}:halved", {"by": 1}, "unexpected keyword argument 'by'"),
    ],
)
def test_a_wrong_schedule_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^training\.schedule") as caught:
        check_training(Training(schedule=name, schedule_options=options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schedule_has_to_last_for_all_rounds() -> None:
    training = Training(
        schedule="onecyclelr",
        schedule_options={"max_lr": 0.5, "total_steps": 4},
    )
    check_training(training, rounds=4)
    with pytest.raises(ValueError, match=r"onecyclelr\", round 6: refused by torch: Tried to step"):
        check_training(training, rounds=8)


def test_options_without_a_schedule_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected none without training\.schedule"):
        check_training(Training(schedule_options={"gamma": 0.5}))


# --- losses ----------------------------------------------------------------------------------

LOGITS, LABELS = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]), torch.tensor([0, 1])


def test_losses_by_name_by_hand() -> None:
    assert {"cross_entropy", "multi_margin_loss", "nll_loss"} <= {*loss_names()}
    assert not {"mse_loss", "kl_div", "binary_cross_entropy"} & {*loss_names()}
    # -ln 1/2 of the first, -ln 3/4 of the second
    plain = make_loss("cross_entropy", {})(LOGITS, LABELS)
    assert float(plain) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    weighted = make_loss("cross_entropy", {"weight": [3, 1]})(LOGITS, LABELS)
    assert float(weighted) == pytest.approx((3 * math.log(2) + math.log(4 / 3)) / 4)
    # margins 1 - 0 and 1 - ln 3 (below 0), over two classes
    margin = make_loss("multi_margin_loss", {})(LOGITS, LABELS)
    assert float(margin) == pytest.approx((1 / 2 + 0) / 2)
    own = make_loss(f"{HERE}:focal", {"gamma": 1.0})(LOGITS, LABELS)
    assert float(own) == pytest.approx((math.log(2) / 2 + math.log(4 / 3) / 4) / 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hinge", {}, 'training.loss = "hinge": expected one of cross_entropy, '),
        ("mse_loss", {}, 'training.loss = "mse_loss": expected one of cross_entropy, '),
        ("cross_entropy", {"smooth": 0.1}, "training.loss_options.smooth: cross_entropy has no"),
        ("cross_entropy", {"label_smoothing": 2.0}, "refused by torch: label_smoothing must be"),
        ("cross_entropy", {"reduction": "none"}, "gives Tensor of shape (5,), expected a tensor"),
        (f"{HERE}:text", {}, "gives str, expected a tensor with a single number"),
        (f"{HERE}:constant", {}, "has no gradient, expected a result that depends on the logits"),
        (f"{HERE}:endless", {}, "for small logits, expected a finite number"),
        (f"{HERE}:each_example", {}, "gives Tensor of shape (5,), expected a tensor with"),
        (f"{HERE}:raises", {}, "KeyError: 'sick' (test_schedules_and_losses.py, line "),
        (f"{HERE}:nothing", {}, 'has no "nothing"'),
    ],
)
def test_a_wrong_loss_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^training\.loss") as caught:
        check_training(Training(loss=name, loss_options=options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_are_as_many_weights_as_classes() -> None:
    check_loss("cross_entropy", {"weight": [1.0, 2.0]})
    check_loss("cross_entropy", {"weight": [1.0, 2.0]}, classes=2)
    with pytest.raises(ValueError, match="weight has 2 numbers, the model has 3 classes"):
        check_loss("cross_entropy", {"weight": [1.0, 2.0]}, classes=3)


def test_what_is_as_it_always_was_is_not_written() -> None:
    """Agreements from before there were schedules and losses keep the digest on chain."""
    plain = json.loads(Training().model_dump_json())
    assert not {"schedule", "schedule_options", "loss", "loss_options", "optimizer"} & {*plain}
    named = Training(loss="nll_loss", schedule="exponentiallr", schedule_options={"gamma": 0.5})
    fields = json.loads(named.model_dump_json())
    assert (fields["loss"], fields["schedule"]) == ("nll_loss", "exponentiallr")
    assert Training.model_validate(fields) == named
    assert named.outside_code == ()
    own = Training(loss="mine:focal", schedule="mine:halved")
    assert own.outside_code == ("mine:halved", "mine:focal")
