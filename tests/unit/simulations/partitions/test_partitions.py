import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError
from simulations.data import Dataset
from simulations.partitions import PartitionRule, class_counts, divide
from simulations.partitions.by_site import BySitePartition
from simulations.partitions.dirichlet import DirichletPartition, dirichlet
from simulations.partitions.iid import IidPartition, iid


def dataset(labels, sites=None, names=()):
    labels = np.array(labels, np.int64)
    x = np.zeros((len(labels), 1), np.float32)
    return Dataset(
        name="made",
        train_x=x,
        train_y=labels,
        test_x=x[:1],
        test_y=labels[:1],
        num_classes=int(labels.max()) + 1,
        input_shape=(1,),
        class_names=tuple("abcdefgh"[: int(labels.max()) + 1]),
        sites=None if sites is None else np.array(sites),
        site_names=tuple(names),
    )


def held_once(indices, count):
    together = np.concatenate(indices)
    return sorted(together.tolist()) == list(range(count))


def test_iid_sizes_differ_by_one_and_each_example_has_one_owner():
    parts = iid(23, 5, np.random.default_rng(0))
    assert [len(part) for part in parts] == [5, 5, 5, 4, 4]
    assert held_once(parts, 23)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert parts[0].tolist() != [0, 1, 2, 3, 4]


class Drawn:
    """A generator whose Dirichlet shares are given, and whose order is the identity."""

    def __init__(self, *shares):
        self.shares = list(shares)

    def permutation(self, values):
        return values

    def dirichlet(self, alpha):
        assert alpha.tolist() == [0.5] * 3
        return np.array(self.shares.pop(0))

    def choice(self, values):
        return values[-1]


def test_dirichlet_counts_by_hand():
    labels = np.array([0] * 10 + [1] * 4)
    # class 0: cuts at 2 and 7 of ten; class 1: cuts at round(.5 * 4) = 2 and round(.55 * 4) = 2
    rng = Drawn([0.2, 0.5, 0.3], [0.5, 0.05, 0.45])
    parts = dirichlet(labels, 3, 0.5, 1, rng)
    assert [part.tolist() for part in parts] == [
        [0, 1, 10, 11],
        [2, 3, 4, 5, 6],
        [7, 8, 9, 12, 13],
    ]


def test_dirichlet_tops_up_from_the_largest():
    labels = np.zeros(10, np.int64)
    # 8, 2 and 0 examples: the third takes two of the first (its last ones), which stays largest
    parts = dirichlet(labels, 3, 0.5, 2, Drawn([0.8, 0.2, 0.0]))
    assert [part.tolist() for part in parts] == [[0, 1, 2, 3, 4, 5], [8, 9], [6, 7]]


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("least", [1, 20])
def test_dirichlet_gives_each_example_once_and_everyone_enough(alpha, least):
    labels = np.repeat(np.arange(4), 50)
    parts = dirichlet(labels, 10, alpha, least, np.random.default_rng(3))
    assert held_once(parts, 200)
    assert min(len(part) for part in parts) >= least


def test_alpha_sets_the_skew():
    data = dataset(np.repeat(np.arange(5), 200))

    def skew(alpha):
        shares = divide(DirichletPartition(alpha=alpha, clients=10), data, 7)
        counts = class_counts(shares, data.train_y, 5)
        return float((counts.max(axis=1) / counts.sum(axis=1)).mean())

    assert skew(0.05) > 0.8 > skew(1.0) > skew(100.0)
    assert skew(100.0) < 0.3


@pytest.mark.parametrize("config", [IidPartition(clients=6), DirichletPartition(clients=6)])
def test_the_division_depends_on_the_seed_alone(config):
    data = dataset(np.repeat(np.arange(3), 40))
    first, again, other = (divide(config, data, seed).indices for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_by_site_makes_each_site_one_client():
    data = dataset([0, 1, 0, 1, 1, 0], sites=[2, 0, 1, 0, 2, 2], names=("x", "y", "z"))
    shares = divide(BySitePartition(clients=3), data, 1)
    assert [part.tolist() for part in shares.indices] == [[1, 3], [2], [0, 4, 5]]
    assert shares.names == ("x", "y", "z")
    assert class_counts(shares, data.train_y, 2).tolist() == [[0, 2], [1, 0], [2, 1]]


def test_clients_are_named_by_number():
    shares = divide(IidPartition(clients=2), dataset([0, 1]), 1)
    assert shares.names == ("client 0", "client 1")


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        (
            IidPartition(clients=4),
            dataset([0, 1, 1]),
            "data set made has 3 training examples, not one for each of partition.clients = 4",
        ),
        (
            DirichletPartition(clients=2, min_examples=2),
            dataset([0, 1, 1]),
            "data set made has 3 training examples, not at least 2 for each of "
            "partition.clients = 2 (partition.min_examples = 2)",
        ),
        (
            BySitePartition(clients=2),
            dataset([0, 1]),
            "partition.clients = 2, but data set made has 0 sites",
        ),
        (
            BySitePartition(clients=3),
            dataset([0, 1], sites=[0, 1], names=("x", "y")),
            "partition.clients = 3, but data set made has 2 sites",
        ),
        (
            BySitePartition(clients=2),
            dataset([0, 1], sites=[1, 1], names=("x", "y")),
            "data set made: site x has no training examples (data.max_train?)",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(config, data, message):
    with pytest.raises(ConfigError) as caught:
        divide(config, data, 1)
    assert str(caught.value) == message


def test_one_each_is_enough():
    shares = divide(IidPartition(clients=3), dataset([0, 1, 1]), 1)
    assert [len(part) for part in shares.indices] == [1, 1, 1]


class Odd(PartitionRule):
    """Deals whatever it is told to."""

    kind: str = "mine:Odd"
    clients: int = 2
    shares: list[list[int]]
    floats: bool = False

    def divide(self, dataset, rng):
        return [np.array(part, float if self.floats else np.int64) for part in self.shares]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": [[0, 1, 2]]}, "divide gave 1 shares, expected 2"),
        (
            {"shares": [[0, 1, 2], []]},
            "divide gave client 1 int64 (0,), expected int64 (n,) with n >= 1",
        ),
        (
            {"shares": [[0, 1], [2]], "floats": True},
            "divide gave client 0 float64 (2,), expected int64 (n,) with n >= 1",
        ),
        ({"shares": [[0, 1], [1]]}, "divide gave 3 indices, expected each of 0 to 2 once"),
        ({"shares": [[0], [1]]}, "divide gave 2 indices, expected each of 0 to 2 once"),
    ],
)
def test_a_partition_that_loses_or_doubles_examples_is_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        divide(Odd(**options), dataset([0, 1, 1]), 1)
    assert str(caught.value) == f'partition.kind = "mine:Odd": {message}'


def test_shares_are_sorted():
    shares = divide(Odd(shares=[[2, 0], [1]]), dataset([0, 1, 1]), 1)
    assert [part.tolist() for part in shares.indices] == [[0, 2], [1]]


class Returns(PartitionRule):
    """Returns what it is told to, or divides by zero."""

    kind: str = "mine:Returns"
    clients: int = 2
    what: str

    def divide(self, dataset, rng):
        match self.what:
            case "none":
                return None
            case "lists":
                return [[0, 1], [2]]
        return 1 // 0


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("none", "divide gave NoneType, expected a list of arrays"),
        ("lists", "divide gave client 0 a list, expected a numpy array"),
        ("zero", "divide raised ZeroDivisionError: integer division or modulo by zero (test_part"),
    ],
)
def test_a_mistake_of_ones_own_partition_is_named(what, message):
    with pytest.raises(ConfigError) as caught:
        divide(Returns(what=what), dataset([0, 0, 1]), 1)
    assert str(caught.value).startswith(f'partition.kind = "mine:Returns": {message}')
