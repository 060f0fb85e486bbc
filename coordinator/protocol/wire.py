"""Names and encodings that clients and coordinator share (``docs/flower.md``).

Plain constants and one array codec, so that neither side imports the other, or Flower. Digests and
signatures are sent as lower-case hex. Not handled: the records (``clients.mod.verifiable_updates``,
``coordinator.flower.records``).
"""

import io
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.types import Int32Vector, JsonObject

WIRE_VERSION: Final = 1

# instruction: two array records at most, and exactly one config record
MODEL_ARRAY: Final = "fedproof.model"
BUFFERS_RECORD: Final = "fedproof.buffers"
VERSION: Final = "fedproof.version"
ROUND: Final = "fedproof.round"
BASE_MODEL: Final = "fedproof.base-model"
MANIFEST: Final = "fedproof.manifest"
RULE_HASH: Final = "fedproof.rule-hash"
CHAIN_ID: Final = "fedproof.chain-id"
CONTRACT: Final = "fedproof.contract"
TENSOR_ORDER: Final = "fedproof.tensor-order"
DEADLINE: Final = "fedproof.deadline"
SIGNATURE: Final = "fedproof.signature"
"""Of the coordinator, over all that an instruction says (``protocol.instructions``)."""
INSTRUCTION_PREFIX: Final = "fedproof."

SERVER_ROUND: Final = "server-round"
"""In the app's own config record, as Flower's strategies send it."""
RUN_TOKEN: Final = "fedproof-token"
"""In the run config: proves to the service that a ServerApp is the current one. No app sees it."""
SEALED: Final = "fedproof.sealed"
"""In a train instruction of a sealed federation: answer with a commitment only."""

# queries: one config record each, answered with one config record of the same name
HELLO: Final = "fedproof.hello"
HELLO_FIELDS: Final[Mapping[str, type]] = {
    "version": int,
    "account": str,
    "expiry": int,
    "signature": str,
}
"""The signed node id is that of the message's recipient, so it is not repeated."""
REVEAL: Final = "fedproof.reveal"
COMMITMENTS: Final = "fedproof.commitments"
"""In a query for a reveal: canonical JSON of the round's commitments document."""
REVEAL_FIELDS: Final[Mapping[str, type]] = {"version": int, "salt": str}

# reply to train in a sealed federation: this config record and nothing else
COMMITMENT: Final = "fedproof.commitment"
COMMITMENT_FIELDS: Final[Mapping[str, type]] = {
    "version": int,
    "round": int,
    "contributor": str,
    "commitment": str,
    "signature": str,
}

# reply: one array record, the app's own metric record, one config record
ARRAYS_RECORD: Final = "arrays"
UPDATE_ARRAY: Final = "fedproof.update"
STATEMENT_RECORD: Final = "fedproof"
STATEMENT_FIELDS: Final[Mapping[str, type]] = {
    "version": int,
    "round": int,
    "base-model": str,
    "update": str,
    "examples": int,
    "metrics-hash": str,
    "contributor": str,
    "signature": str,
}
EXAMPLES_METRIC: Final = "num-examples"

MAX_EXAMPLES: Final = 2**63 - 1
"""Largest example count a statement may carry (``uint64`` on chain, ``sint64`` in protobuf)."""
MAX_METRICS: Final = 64
"""Largest number of metrics, and of values in one list metric."""

CLIENT_REFUSAL_PREFIX: Final = "fedproof/"
"""A client that declines replies with an error whose reason is ``fedproof/CODE: detail``."""
AWAY: Final = "daemon-away"
"""Code of a refusal on behalf of a participant's daemon that does not run."""
CHAIN_UNAVAILABLE: Final = "chain-unavailable"
"""Code of a refusal by a client whose chain node does not answer."""

FLOWER_ENVIRONMENT: Final[Mapping[str, str]] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Set before ``flwr`` is imported: no telemetry, no update check, no ``uv sync`` per run."""

_HEADER_LIMIT = 1024
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][A-Za-z]\d{0,4})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}(?:, \d{1,18})*,?)?)\), \} *\n"
)


def encode_npy(values: NDArray[Any]) -> bytes:
    """Return ``values`` in NumPy's ``.npy`` format (version 1.0, C order, little endian)."""
    array = np.ascontiguousarray(values)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    header = io.BytesIO()
    fields = {"descr": array.dtype.str, "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return b"".join([header.getvalue(), array.reshape(-1).view(np.uint8).data])


def decode_npy(
    data: bytes, *, dtype: str, shape: tuple[int, ...], place: str = "array"
) -> NDArray[Any]:
    """Return the array in ``.npy`` bytes as a read-only view; nothing is allocated for it.

    Parameters
    ----------
    data
        The received bytes, untrusted: the sizes they declare are compared, never used to allocate.
    dtype, shape
        The expected ones, e.g. ``"int32"`` and ``(d,)``.
    place
        Name of the array in messages.

    Raises
    ------
    MalformedUpdateError
        ``malformed-array``, ``wrong-dtype``, ``wrong-shape`` or ``wrong-size``.
    """
    expected = np.dtype(dtype).newbyteorder("<")
    found_shape, fortran_order, found_dtype, offset = _read_header(data, place)
    if found_dtype != expected.str:
        raise malformed("wrong-dtype", place, found_dtype, expected.str)
    if found_shape != shape:
        raise malformed("wrong-shape", place, str(found_shape), str(shape))
    size = math.prod(shape) * expected.itemsize
    if len(data) - offset != size:
        raise malformed("wrong-size", place, f"{len(data) - offset} bytes", f"{size} bytes")
    flat: NDArray[Any] = np.frombuffer(data, dtype=expected, offset=offset)
    return flat.reshape(shape, order="F") if fortran_order else flat.reshape(shape)


def decode_vector(data: bytes, dimension: int, place: str) -> Int32Vector:
    """Return the int32 vector of shape ``(dimension,)`` in ``.npy`` bytes, as a view."""
    return decode_npy(data, dtype="int32", shape=(dimension,), place=place)


def plain_metrics(record: Mapping[str, Any]) -> JsonObject:
    """Return metrics as plain integers, floats and lists of them, for their canonical JSON.

    Raises
    ------
    MalformedUpdateError
        ``bad-metrics`` for too many, or for a value that is not a finite number or a list of them.
    """
    if len(record) > MAX_METRICS:
        raise malformed("bad-metrics", "metrics", f"{len(record)}", f"at most {MAX_METRICS}")
    return {name: _plain_metric(name, value) for name, value in record.items()}


def _plain_metric(name: str, value: Any) -> Any:
    if isinstance(value, list):
        if len(value) > MAX_METRICS:
            expected = f"at most {MAX_METRICS} values"
            raise malformed("bad-metrics", f"metric {name!r}", f"{len(value)} values", expected)
        return [_plain_metric(name, item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise malformed("bad-metrics", f"metric {name!r}", repr(value)[:40], "a finite number")


def check_examples(metrics: JsonObject) -> int:
    """Return the number of examples that a contributor reports.

    Raises
    ------
    MalformedUpdateError
        ``missing-examples``, or ``bad-examples`` if it is not an integer from 1 to 2^63 - 1.
    """
    if EXAMPLES_METRIC not in metrics:
        found = ", ".join(sorted(metrics)) or "no metrics"
        raise malformed("missing-examples", "metrics", found, f"{EXAMPLES_METRIC!r}")
    examples = metrics[EXAMPLES_METRIC]
    if type(examples) is not int or not 1 <= examples <= MAX_EXAMPLES:
        expected = f"an integer from 1 to {MAX_EXAMPLES}"
        raise malformed(
            "bad-examples", f"metric {EXAMPLES_METRIC!r}", repr(examples)[:40], expected
        )
    return examples


def _read_header(data: bytes, place: str) -> tuple[tuple[int, ...], bool, str, int]:
    """Return shape, column-major, dtype and the offset of the values.

    Matched against a pattern: NumPy's own reader evaluates the header, and raises other errors than
    ``ValueError`` on a hostile one, which would end a run (ADR 61).
    """
    if data[:8] != _MAGIC or len(data) < 10:
        raise malformed("malformed-array", place, repr(data[:8]), "a .npy file, version 1.0")
    offset = 10 + int.from_bytes(data[8:10], "little")
    match = _HEADER.fullmatch(data[10 : min(offset, _HEADER_LIMIT)])
    if match is None or len(data) < offset:
        raise malformed("malformed-array", place, repr(data[10:50]), "the header of an array")
    shape = tuple(int(side) for side in match[3].replace(b",", b" ").split())
    return shape, match[2] == b"True", match[1].decode("ascii"), offset


def malformed(code: str, place: str, found: str, expected: str) -> MalformedUpdateError:
    """Return the error for ``place`` holding ``found`` instead of ``expected``."""
    return MalformedUpdateError(
        f"{place}: {code}: found {found}, expected {expected}",
        code=code,
        found=found,
        expected=expected,
    )
