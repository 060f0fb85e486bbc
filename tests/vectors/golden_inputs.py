"""Keys, accounts and pseudo-random values that the golden vectors are made from."""

from typing import Any

from coordinator.protocol.keccak import keccak256
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.signatures.eip712 import address_of_key, checksum_address
from coordinator.protocol.types import SigningDomain, address_bytes

Document = dict[str, Any]

KEYS = [keccak256(f"fedproof golden key {i}".encode()) for i in range(5)]
ACCOUNTS = sorted((address_of_key(key) for key in KEYS), key=address_bytes)
DOMAIN = SigningDomain(1337, checksum_address(bytes(range(20))))
MANIFEST = Manifest(
    (
        TensorSpec("linear.weight", (2, 3), "float32"),
        TensorSpec("linear.bias", (3,), "float64"),
        TensorSpec("scale", (), "float16"),
    ),
    chunk_values=4,
)


def pseudo_values(count: int, seed: int) -> list[int]:
    """Return int32 values that any language can make again: Keccak in counter mode."""
    values = []
    for i in range(count):
        word = keccak256(seed.to_bytes(4, "big") + i.to_bytes(4, "big"))
        values.append(int.from_bytes(word[:4], "big", signed=True))
    return values
