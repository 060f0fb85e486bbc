"""How a simulated contributor behaves: what it does to its update, its statement, its reply.

A behaviour is a small frozen record with four hooks, called in the order of a reply's making:

1. ``shape_update``: the integer update, before anything is signed;
2. ``shape_message``: the statement that will be signed;
3. ``second_update``: a second update to sign and send for the same round, or ``None``;
4. ``corrupt_reply``: what is finally sent, after signing; ``None`` sends nothing.

Every hook of the base changes nothing, so a misbehaviour overrides only its own. All are
pure: what they draw comes from the generator in the context. Not handled: sending, signing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.types import Int32Vector, RoundId, UpdateMessage
from simulations.experiment import BehaviourConfig
from simulations.experiment.behaviours import (
    BadSignatureBehaviour,
    CopyBehaviour,
    EquivocateBehaviour,
    InflateBehaviour,
    NanBehaviour,
    NoiseBehaviour,
    OutOfRangeBehaviour,
    PeekBehaviour,
    ReplayBehaviour,
    SignFlipBehaviour,
    SilentBehaviour,
    UnbondedBehaviour,
    WrongRoundBehaviour,
    WrongShapeBehaviour,
)

INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class UpdateContext:
    """What a misbehaving contributor can know when it makes its update.

    ``generator`` is its own for this round; ``copied`` is the update of the previous round that
    :func:`copy_source` names, ``None`` where there is none.
    """

    generator: np.random.Generator
    copied: Int32Vector | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent beside the signed message; ``vector`` may be anything in a corrupt one."""

    vector: NDArray[Any]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A simulated contributor's conduct in one round; this base is the honest one.

    Attributes
    ----------
    label
        Name for reports: the ``kind`` of the config, or ``honest``.
    bonds
        Whether the contributor ever joins.
    trains
        Whether its update needs local training; otherwise give ``shape_update`` zeros.
    copies
        Whether the context must hold another contributor's previous update.
    overhears
        The contributor whose update of this very round it passes off as its own.
    """

    label: str = "honest"
    bonds: bool = True
    trains: bool = True
    copies: bool = False
    overhears: int | None = None

    def shape_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the update to sign, shape ``(d,)``; ``update`` is what training gave."""
        return update

    def shape_message(self, message: UpdateMessage) -> UpdateMessage:
        """Return the statement to sign."""
        return message

    def second_update(self, update: Int32Vector) -> Int32Vector | None:
        """Return another update to sign for the same round, or ``None``."""
        return None

    def corrupt_reply(self, reply: Reply) -> Reply | None:
        """Return what to send, or ``None`` to stay silent."""
        return reply


@dataclass(frozen=True, slots=True)
class Replay(Behaviour):
    """Sends the global model back: the update is zero."""

    def shape_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return zeros."""
        return np.zeros_like(update)


@dataclass(frozen=True, slots=True)
class Copy(Behaviour):
    """Signs somebody else's update of the round before."""

    def shape_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the copied update; zeros in a round that has none before it."""
        return np.zeros_like(update) if context.copied is None else context.copied.copy()


@dataclass(frozen=True, slots=True)
class Noise(Behaviour):
    """Gaussian noise as long as ``scale`` times the honest update."""

    scale: float = 1.0

    def shape_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return noise of the L2 norm of ``scale * update``, rounded to integers."""
        noise = context.generator.standard_normal(update.shape)
        length = self.scale * float(np.linalg.norm(update.astype(np.float64)))
        return _to_int32(noise * (length / float(np.linalg.norm(noise))))


@dataclass(frozen=True, slots=True)
class SignFlip(Behaviour):
    """The honest update times ``-scale``."""

    scale: float = 1.0

    def shape_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return ``-scale * update``, rounded, within int32."""
        return _to_int32(-self.scale * update.astype(np.float64))


@dataclass(frozen=True, slots=True)
class OutOfRange(Behaviour):
    """Values at the end of int32, which overflow once added to a model."""

    def shape_update(self, update: Int32Vector, context: UpdateContext) -> Int32Vector:
        """Return the largest int32 where the update rises or rests, the smallest elsewhere."""
        return np.where(update >= 0, INT32.max, INT32.min).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Equivocate(Behaviour):
    """Signs a second update that differs in its first parameter."""

    def second_update(self, update: Int32Vector) -> Int32Vector | None:
        """Return the update with its first value one nearer to zero (or 1, if it is zero)."""
        second = update.copy()
        second[0] = 1 if update[0] == 0 else update[0] - np.sign(update[0])
        return second


@dataclass(frozen=True, slots=True)
class InflateExamples(Behaviour):
    """Claims more examples than it holds."""

    examples: int = 1_000_000_000

    def shape_message(self, message: UpdateMessage) -> UpdateMessage:
        """Return the message with the claimed count."""
        return replace(message, examples=self.examples)


@dataclass(frozen=True, slots=True)
class WrongRound(Behaviour):
    """Signs for the round before."""

    def shape_message(self, message: UpdateMessage) -> UpdateMessage:
        """Return the message with its round one lower."""
        return replace(message, round_id=RoundId(message.round_id - 1))


@dataclass(frozen=True, slots=True)
class SendNan(Behaviour):
    """Sends floats with a NaN in place of the integers it signed."""

    def corrupt_reply(self, reply: Reply) -> Reply | None:
        """Return a float32 vector whose first value is NaN."""
        floats = reply.vector.astype(np.float32)
        floats[0] = np.nan
        return replace(reply, vector=floats)


@dataclass(frozen=True, slots=True)
class WrongShape(Behaviour):
    """Sends one value too few."""

    def corrupt_reply(self, reply: Reply) -> Reply | None:
        """Return the vector without its last value."""
        return replace(reply, vector=reply.vector[:-1])


@dataclass(frozen=True, slots=True)
class BadSignature(Behaviour):
    """Sends a signature that does not belong to its message."""

    def corrupt_reply(self, reply: Reply) -> Reply | None:
        """Return the signature with one bit of *r* flipped."""
        return replace(reply, signature=bytes([reply.signature[0] ^ 1]) + reply.signature[1:])


@dataclass(frozen=True, slots=True)
class Silent(Behaviour):
    """Never answers."""

    def corrupt_reply(self, reply: Reply) -> Reply | None:
        """Return ``None``."""
        return None


HONEST = Behaviour()


def behaviour_of(
    configs: Sequence[BehaviourConfig], client: int, round_id: int | None = None
) -> Behaviour:
    """Return how a client behaves in a round, by the ``[[behaviours]]`` tables.

    Parameters
    ----------
    configs
        ``experiment.behaviours``: at most one of them names the client.
    client
        Number of the client, from 0.
    round_id
        Rounds before the table's ``from_round`` are honest; ``None`` asks for what the client
        will become (for reports, and for whether it bonds).
    """
    for config in configs:
        if client in config.clients and (round_id is None or round_id >= config.from_round):
            return _behaviour(config)
    return HONEST


def copy_source(client: int, contributors: Collection[int]) -> int | None:
    """Return whose update of the previous round a copying client takes: the lowest other number.

    ``contributors`` are the clients whose updates that round accepted.
    """
    return min((other for other in contributors if other != client), default=None)


def _behaviour(config: BehaviourConfig) -> Behaviour:
    kind = config.kind
    match config:
        case ReplayBehaviour():
            return Replay(kind, trains=False)
        case CopyBehaviour():
            return Copy(kind, trains=False, copies=True)
        case PeekBehaviour(victim=victim):
            return Behaviour(kind, overhears=victim)
        case NoiseBehaviour(scale=scale):
            return Noise(kind, scale=scale)
        case SignFlipBehaviour(scale=scale):
            return SignFlip(kind, scale=scale)
        case EquivocateBehaviour():
            return Equivocate(kind)
        case InflateBehaviour(examples=examples):
            return InflateExamples(kind, examples=examples)
        case NanBehaviour():
            return SendNan(kind)
        case WrongShapeBehaviour():
            return WrongShape(kind)
        case OutOfRangeBehaviour():
            return OutOfRange(kind)
        case WrongRoundBehaviour():
            return WrongRound(kind)
        case BadSignatureBehaviour():
            return BadSignature(kind)
        case UnbondedBehaviour():
            return Behaviour(kind, bonds=False)
        case SilentBehaviour():
            return Silent(kind, trains=False)
        case _:
            assert_never(config)


def _to_int32(values: NDArray[np.float64]) -> Int32Vector:
    return np.clip(np.rint(values), INT32.min, INT32.max).astype(np.int32)
