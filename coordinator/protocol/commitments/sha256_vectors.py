"""Vector instructions for sixteen parallel SHA-256 computations, emitted as LLVM code.

LLVM did not vectorise the same plain loops, which ran 15 times slower, so the instructions are
written out (ADR 32); LLVM chooses registers and splits vectors if the machine's are narrower. Not
handled: what is hashed and in which order (``sha256_lanes``). Numba's disk cache does not notice
a change in this file alone: touch ``sha256_lanes`` too.

References
----------
NIST FIPS 180-4, sections 4.1.2 and 6.2.2. The transposition is Eklundh's (1972).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Messages hashed together."""

# Numba's and llvmlite's annotations do not describe code generation.
_intrinsic: Any = intrinsic
_ir: Any = ir

_I32 = _ir.IntType(32)
_VECTOR = _ir.VectorType(_I32, LANES)


class _VectorEmitter:
    """Emits vector instructions for :data:`LANES` parallel hashes."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    @staticmethod
    def constant(value: int) -> Any:
        return _ir.Constant(_VECTOR, [value] * LANES)

    def load(self, address: Any, offset_bytes: Any) -> Any:
        value = self._builder.load(self._pointer(address, offset_bytes))
        value.align = 1
        return value

    def store(self, value: Any, address: Any, offset_bytes: Any) -> None:
        self._builder.store(value, self._pointer(address, offset_bytes)).align = 1

    def _pointer(self, address: Any, offset_bytes: Any) -> Any:
        if isinstance(offset_bytes, int):
            offset_bytes = _ir.Constant(address.type, offset_bytes)
        at = self._builder.add(address, offset_bytes)
        return self._builder.inttoptr(at, _VECTOR.as_pointer())

    def rotate_xor(self, x: Any, *amounts: int) -> Any:
        result = self._rotate(x, amounts[0])
        for amount in amounts[1:]:
            result = self._builder.xor(result, self._rotate(x, amount))
        return result

    def _rotate(self, x: Any, amount: int) -> Any:
        right = self._builder.lshr(x, self.constant(amount))
        return self._builder.or_(right, self._builder.shl(x, self.constant(32 - amount)))

    def join(self, before: Any, value: Any) -> Any:
        """Return the message word that spans two values: the prefix byte shifts all by 8 bits."""
        high = self._builder.shl(before, self.constant(24))
        return self._builder.or_(high, self._builder.lshr(value, self.constant(8)))

    def transpose(self, rows: list[Any]) -> list[Any]:
        rows = list(rows)
        step = LANES // 2
        while step:
            keep = [c if not c & step else LANES + c - step for c in range(LANES)]
            swap = [c + step if not c & step else LANES + c for c in range(LANES)]
            for top in (row for row in range(LANES) if not row & step):
                pair = rows[top], rows[top + step]
                rows[top] = self._shuffle(pair, keep)
                rows[top + step] = self._shuffle(pair, swap)
            step //= 2
        return rows

    def _shuffle(self, pair: tuple[Any, Any], order: list[int]) -> Any:
        mask = _ir.Constant(_VECTOR, order)
        return self._builder.shuffle_vector(pair[0], pair[1], mask)

    def expand(self, words: list[Any]) -> None:
        """Replace sixteen words of the message schedule by the next sixteen."""
        b = self._builder
        for t in range(16):
            early, late = words[(t + 1) % 16], words[(t + 14) % 16]
            small0 = b.xor(self.rotate_xor(early, 7, 18), b.lshr(early, self.constant(3)))
            small1 = b.xor(self.rotate_xor(late, 17, 19), b.lshr(late, self.constant(10)))
            words[t] = b.add(b.add(words[t], words[(t + 9) % 16]), b.add(small0, small1))

    def rounds(self, state: list[Any], keyed: list[Any]) -> list[Any]:
        """Return the eight working variables after one round for each keyed word."""
        build = self._builder
        a, b, c, d, e, f, g, h = state
        for word in keyed:
            choice = build.xor(g, build.and_(e, build.xor(f, g)))
            majority = build.xor(build.and_(a, build.xor(b, c)), build.and_(b, c))
            first = build.add(build.add(h, word), self.rotate_xor(e, 6, 11, 25))
            first = build.add(first, choice)
            second = build.add(self.rotate_xor(a, 2, 13, 22), majority)
            a, b, c, d, e, f, g, h = build.add(first, second), a, b, c, build.add(d, first), e, f, g
        return [a, b, c, d, e, f, g, h]

    def load_all(self, address: Any, count: int) -> list[Any]:
        return [self.load(address, row * LANES * 4) for row in range(count)]

    def store_all(self, values: list[Any], address: Any) -> None:
        for row, value in enumerate(values):
            self.store(value, address, row * LANES * 4)

    def broadcast(self, address: Any, index: int) -> Any:
        """Load one 32-bit constant into all lanes."""
        at = self._builder.add(address, _ir.Constant(address.type, 4 * index))
        scalar = self._builder.load(self._builder.inttoptr(at, _I32.as_pointer()))
        single = self._builder.insert_element(
            _ir.Constant(_VECTOR, _ir.Undefined), scalar, _ir.Constant(_I32, 0)
        )
        return self._shuffle((single, single), [0] * LANES)


_Generator = Callable[[Any, Any, Any, Any], Any]


def _of_addresses(count: int, generate: _Generator) -> Any:
    """Return a compiled function of ``count`` 64-bit addresses or lengths without a result."""
    signature = types.void(*[types.int64] * count)
    typings = {
        1: lambda _typing, _a: (signature, generate),
        2: lambda _typing, _a, _b: (signature, generate),
        3: lambda _typing, _a, _b, _c: (signature, generate),
        4: lambda _typing, _a, _b, _c, _d: (signature, generate),
    }
    return _intrinsic(typings[count])


def _generate_gather(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    words, carry, rows, stride_bytes = arguments
    emit = _VectorEmitter(builder)
    lanes = [
        emit.load(rows, builder.mul(stride_bytes, _ir.Constant(stride_bytes.type, lane)))
        for lane in range(LANES)
    ]
    values = emit.transpose(lanes)
    before = [emit.load(carry, 0), *values[:-1]]
    joined = [emit.join(earlier, value) for earlier, value in zip(before, values, strict=True)]
    emit.store_all(joined, words)
    emit.store(values[-1], carry, 0)
    return context.get_dummy_value()


def _generate_expand(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    emit = _VectorEmitter(builder)
    words = emit.load_all(arguments[0], 16)
    emit.expand(words)
    emit.store_all(words, arguments[0])
    return context.get_dummy_value()


def _generate_rounds(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    variables, words, constants = arguments
    emit = _VectorEmitter(builder)
    keyed = [
        builder.add(word, emit.broadcast(constants, t))
        for t, word in enumerate(emit.load_all(words, 16))
    ]
    emit.store_all(emit.rounds(emit.load_all(variables, 8), keyed), variables)
    return context.get_dummy_value()


def _generate_add(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    target, left, right = arguments
    emit = _VectorEmitter(builder)
    pairs = zip(emit.load_all(left, 8), emit.load_all(right, 8), strict=True)
    emit.store_all([builder.add(x, y) for x, y in pairs], target)
    return context.get_dummy_value()


def _generate_broadcast(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    target, constants = arguments
    emit = _VectorEmitter(builder)
    emit.store_all([emit.broadcast(constants, row) for row in range(8)], target)
    return context.get_dummy_value()


@_intrinsic  # type: ignore[untyped-decorator]
def value_at(_typing: Any, _address: Any) -> Any:
    """Load the 32-bit value at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        value = builder.load(builder.inttoptr(arguments[0], _I32.as_pointer()))
        value.align = 1
        return value

    return types.uint32(types.int64), generate


@_intrinsic  # type: ignore[untyped-decorator]
def put_value(_typing: Any, _address: Any, _value: Any) -> Any:
    """Store a 32-bit value at an address."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        target = builder.inttoptr(arguments[0], _I32.as_pointer())
        builder.store(arguments[1], target).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.uint32), generate


gather_words = _of_addresses(4, _generate_gather)
"""``(words, carry, rows, stride_bytes)``: the message words of 16 values of each of 16 rows."""

expand_words = _of_addresses(1, _generate_expand)
"""``(words)``: the next 16 words of the message schedule."""

sixteen_rounds = _of_addresses(3, _generate_rounds)
"""``(variables, words, constants)``: 16 rounds of the compression function."""

add_states = _of_addresses(3, _generate_add)
"""``(target, left, right)``: the sum of two states of 8 rows."""

broadcast_state = _of_addresses(2, _generate_broadcast)
"""``(target, constants)``: 8 constants, each in all lanes."""
