"""Calls an attack's hooks with their data, and checks the values they return.

A hook that raises, or returns a wrong value, is a mistake in the attack's code: the run ends with
one line that names the attack, the hook, and the expected value.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from coordinator.protocol.registry import failure_of
from coordinator.protocol.types import Int32Vector, RoundId, UpdateMessage
from simulations.attacks.contributor.base import (
    AttackContext,
    ContributorAttack,
    LocalData,
    Reply,
    Stage,
    UpdateContext,
)
from simulations.errors import ExtensionError
from simulations.seeds import generator

Returned = TypeVar("Returned")


class VectorsOnDemand(Mapping[int, Int32Vector]):
    """Vectors by client, each read or trained once, on its first access."""

    def __init__(self, clients: tuple[int, ...], load: Callable[[int], Int32Vector]) -> None:
        self._clients, self._load = clients, load
        self._loaded: dict[int, Int32Vector] = {}

    def __getitem__(self, client: int) -> Int32Vector:
        if client not in self._clients:
            raise KeyError(client)
        if client not in self._loaded:
            self._loaded[client] = _read_only(self._load(client))
        return self._loaded[client]

    def __iter__(self) -> Iterator[int]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)


@dataclass(frozen=True)
class RoundKnowledge:
    """The data of a round for every attacker: its base model, and others' updates."""

    base_model: Int32Vector
    scale_bits: int
    published: Mapping[int, Int32Vector]
    benign: Mapping[int, Int32Vector]


@dataclass(frozen=True)
class AttackHooks:
    """The hooks of one attack, for one of its clients in one round.

    ``seed`` is the experiment's; ``colluders`` are as in :class:`AttackContext`.
    """

    attack: ContributorAttack
    seed: int
    client: int
    round_id: RoundId
    colluders: tuple[int, ...]

    def data(self, data: LocalData) -> LocalData:
        """Return the examples to train on.

        Raises
        ------
        ExtensionError
            If the hook raises, or returns no examples, arrays of other dtypes or of shapes that do
            not match, or a label of no class.
        """
        if not self.attack.changes_data:
            return data
        given = LocalData(_read_only(data.x), _read_only(data.y), data.num_classes)
        changed = self._call("change_data", self.attack.change_data, given, self._context("data"))
        self._check("change_data", changed, LocalData)
        x, y = changed.x, changed.y
        if (
            x.dtype != np.float32
            or y.dtype != np.int64
            or y.ndim != 1
            or not len(y)
            or x.shape != (len(y), *data.x.shape[1:])
        ):
            raise self._broken(
                "change_data",
                f"x of {x.dtype} {x.shape} and y of {y.dtype} {y.shape}",
                f"float32 (n, {', '.join(map(str, data.x.shape[1:]))}) and int64 (n,), n >= 1",
            )
        if y.min() < 0 or y.max() >= data.num_classes:
            found = f"labels from {y.min()} to {y.max()}"
            raise self._broken("change_data", found, f"0 to {data.num_classes - 1}")
        # Writable, since torch warns of read-only arrays.
        return LocalData(
            np.require(x, requirements="W"), np.require(y, requirements="W"), data.num_classes
        )

    def update(self, update: Int32Vector, known: RoundKnowledge) -> Int32Vector:
        """Return the update to sign.

        Raises
        ------
        ExtensionError
            If the hook raises, or returns anything but int32 of the same shape.
        """
        # The name of the seed differs from the hook's for the sake of existing runs' bytes.
        context = self._update_context("", known)
        changed = self._call(
            "change_update", self.attack.change_update, _read_only(update), context
        )
        return self._vector("change_update", changed, update)

    def second_update(self, update: Int32Vector, known: RoundKnowledge) -> Int32Vector:
        """Return the second update to sign.

        Raises
        ------
        ExtensionError
            As for :meth:`update`.
        """
        context = self._update_context("second", known)
        changed = self._call(
            "second_update", self.attack.second_update, _read_only(update), context
        )
        return self._vector("second_update", changed, update)

    def statement(self, message: UpdateMessage) -> UpdateMessage:
        """Return the statement to sign.

        Raises
        ------
        ExtensionError
            If the hook raises, or returns anything else.
        """
        context = self._context("statement")
        changed = self._call("change_statement", self.attack.change_statement, message, context)
        self._check("change_statement", changed, UpdateMessage)
        return changed

    def reply(self, reply: Reply) -> Reply:
        """Return the reply to send.

        Raises
        ------
        ExtensionError
            If the hook raises, or returns anything else.
        """
        changed = self._call(
            "change_reply", self.attack.change_reply, reply, self._context("reply")
        )
        self._check("change_reply", changed, Reply)
        return changed

    def delay_s(self, stage: Stage) -> int | None:
        """Return the delay in seconds of chain time after the round's opening, ``None`` for never.

        Raises
        ------
        ExtensionError
            If the hook raises, or returns anything but ``None`` or an integer of 0 or more.
        """
        context = self._context(f"delay {stage}")
        delay = self._call("delay_s", self.attack.delay_s, stage, context)
        if delay is not None and (type(delay) is not int or delay < 0):
            raise self._broken("delay_s", repr(delay), "None or an integer from 0")
        return delay

    def _context(self, hook: str) -> AttackContext:
        return AttackContext(
            self.client, self.round_id, self.colluders, self._own(hook), self._shared(hook)
        )

    def _update_context(self, hook: str, known: RoundKnowledge) -> UpdateContext:
        return UpdateContext(
            self.client,
            self.round_id,
            self.colluders,
            self._own(hook),
            self._shared(hook),
            _read_only(known.base_model),
            known.scale_bits,
            known.published,
            known.benign,
        )

    def _own(self, hook: str) -> np.random.Generator:
        names = ("behaviour", int(self.round_id), self.client)
        return generator(self.seed, *names, *((hook,) if hook else ()))

    def _shared(self, hook: str) -> np.random.Generator:
        table = min(self.attack.clients)  # a client is in one table, so this names the table
        return generator(self.seed, "shared behaviour", int(self.round_id), table, hook)

    def _call(self, hook: str, method: Callable[..., Returned], *arguments: Any) -> Returned:
        try:
            return method(*arguments)
        except Exception as error:  # any error of the attack's code must reach its author
            raise ExtensionError(f"{self._place(hook)} raised {failure_of(error)}") from error

    def _check(self, hook: str, value: object, expected: type) -> None:
        if not isinstance(value, expected):
            raise self._broken(hook, type(value).__name__, expected.__name__)

    def _vector(self, hook: str, value: object, update: Int32Vector) -> Int32Vector:
        self._check(hook, value, np.ndarray)
        assert isinstance(value, np.ndarray)
        if value.dtype != np.int32 or value.shape != update.shape:
            found = f"{value.dtype} {value.shape}"
            raise self._broken(hook, found, f"int32 {update.shape}")
        return value

    def _broken(self, hook: str, found: str, expected: str) -> ExtensionError:
        return ExtensionError(f"{self._place(hook)} returned {found}, expected {expected}")

    def _place(self, hook: str) -> str:
        return (
            f'behaviours.kind = "{self.attack.kind}", client {self.client}, round '
            f"{self.round_id}: {hook}"
        )


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
