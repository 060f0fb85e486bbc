"""Int32 vectors as safetensors files, written without a copy and in exactly one form.

The layout is safetensors' own (eight bytes of header length, a JSON header padded with spaces
to a multiple of eight, then little-endian data), so any safetensors reader opens the files. The
header is fixed by the manifest digest and ``d``; reading compares it byte for byte, so that a
file has exactly one valid form.
"""

import json
import sys

import numpy as np

from coordinator.protocol.errors import BlobCorruptError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Int32Vector

TENSOR_NAME = "fedproof.vector"


def header(dimension: int, manifest_digest: bytes) -> bytes:
    """Return the only valid header of a vector file, length prefix included."""
    text = json.dumps(
        {
            "__metadata__": {"manifest": manifest_digest.hex()},
            TENSOR_NAME: {
                "dtype": "I32",
                "shape": [dimension],
                "data_offsets": [0, 4 * dimension],
            },
        },
        separators=(",", ":"),
    ).encode()
    padded = text + b" " * (-len(text) % 8)
    return len(padded).to_bytes(8, "little") + padded


def encode(vector: Int32Vector, manifest_digest: bytes) -> list[bytes | memoryview]:
    """Return the pieces of the file of an int32 vector of shape ``(d,)``; nothing is copied."""
    little = vector if sys.byteorder == "little" else vector.astype("<i4")
    return [header(vector.shape[0], manifest_digest), little.data.cast("B")]


def decode(data: bytes, manifest: Manifest, place: str) -> Int32Vector:
    """Return the read-only int32 vector in a file's bytes.

    Raises
    ------
    BlobCorruptError
        If the length or the header does not match ``manifest``; ``place`` names the file.
    """
    expected = header(manifest.dimension, manifest.digest())
    size = len(expected) + 4 * manifest.dimension
    if len(data) != size:
        raise BlobCorruptError(f"{place}: {len(data)} bytes, expected {size}")
    if not data.startswith(expected):
        raise BlobCorruptError(f"{place}: header is not that of a vector of this manifest")
    return np.frombuffer(data, dtype="<i4", offset=len(expected)).astype(np.int32, copy=False)
