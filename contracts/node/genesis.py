"""The genesis parameters of a chain, and opening or creating a chain with them.

Parameters and transactions determine every block hash.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from eth.chains.base import MiningChain
from eth.exceptions import CanonicalHeadNotFound
from eth.typing import AccountState, HeaderParams
from eth_utils.address import is_checksum_address, to_canonical_address

from contracts.node.batching import BatchingDB
from contracts.node.evm import GAS_CAP_PER_TRANSACTION, chain_class
from contracts.node.records import ZERO_ADDRESS
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, StoreError, VerificationError
from coordinator.protocol.types import Address, JsonObject, Wei, address_bytes

GENESIS_KEY: Final = b"fedproof:genesis"
"""Row of the chain file that holds the canonical JSON of its parameters."""
_MAX_U64: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class GenesisConfig:
    """The contents of block 0.

    Attributes
    ----------
    alloc
        Balance in wei of each account at the start, by checksummed address.
    chain_id
        EIP-155 chain id.
    timestamp
        Unix time of block 0, seconds.
    gas_limit
        Gas per block, the same in every block.
    coinbase
        Receives the tips of every block; the zero address burns them.
    base_fee_wei
        Base fee of block 0; later ones follow EIP-1559.

    Raises
    ------
    ConfigError
        If a value is out of range; the message names the field.
    """

    alloc: Mapping[Address, Wei] = field(default_factory=dict, hash=False)
    chain_id: int = 1337
    timestamp: int = 1_700_000_000
    gas_limit: int = 60_000_000
    coinbase: Address = ZERO_ADDRESS
    base_fee_wei: Wei = Wei(1_000_000_000)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alloc", MappingProxyType(dict(self.alloc)))
        _require_range("chain_id", self.chain_id, 1, _MAX_U64 // 2 - 36)
        _require_range("timestamp", self.timestamp, 0, _MAX_U64)
        _require_range("gas_limit", self.gas_limit, GAS_CAP_PER_TRANSACTION, (1 << 63) - 1)
        _require_range("base_fee_wei", self.base_fee_wei, 0, _MAX_U64)
        _require_address("coinbase", self.coinbase)
        for account, balance_wei in self.alloc.items():
            _require_address("alloc", account)
            _require_range(f"alloc[{account}]", balance_wei, 0, (1 << 255) - 1)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # Configs are sent to worker processes, and a mapping proxy cannot be pickled.
        return type(self).from_json, (self.to_json(),)

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, balances as decimal strings."""
        alloc = {a: str(self.alloc[a]) for a in sorted(self.alloc, key=address_bytes)}
        document: JsonObject = {
            "alloc": alloc,
            "base_fee_wei": str(self.base_fee_wei),
            "chain_id": self.chain_id,
            "coinbase": self.coinbase,
            "format": 1,
            "gas_limit": self.gas_limit,
            "timestamp": self.timestamp,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "GenesisConfig":
        """Parse the output of :meth:`to_json`.

        Raises
        ------
        ConfigError
            If the text is malformed.
        """
        try:
            document = parse_json(text.encode(), "genesis parameters")
            if document["format"] != 1:
                raise ConfigError(f"genesis format {document['format']!r}; expected 1")
            return cls(
                alloc={Address(a): Wei(int(b)) for a, b in document["alloc"].items()},
                chain_id=document["chain_id"],
                timestamp=document["timestamp"],
                gas_limit=document["gas_limit"],
                coinbase=Address(document["coinbase"]),
                base_fee_wei=Wei(int(document["base_fee_wei"])),
            )
        except (VerificationError, ValueError, KeyError, TypeError, AttributeError) as failed:
            raise ConfigError(f"genesis parameters are malformed: {failed!r}") from failed

    def first_difference(self, other: "GenesisConfig") -> tuple[str, Any, Any] | None:
        """Return name, own value and other's value of the first parameter that differs."""
        for name in ("chain_id", "timestamp", "gas_limit", "coinbase", "base_fee_wei"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return name, mine, theirs
        for account in sorted({*self.alloc, *other.alloc}, key=address_bytes):
            if self.alloc.get(account) != other.alloc.get(account):
                return f"alloc[{account}]", self.alloc.get(account), other.alloc.get(account)
        return None


def _require_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"genesis {name}: found {value!r}, expected an integer {low}..{high}")


def _require_address(name: str, value: str) -> None:
    if not is_checksum_address(value) and value != ZERO_ADDRESS:
        raise ConfigError(f"genesis {name}: {value!r} is not an EIP-55 checksummed address")


def open_chain(
    db: BatchingDB, genesis: GenesisConfig | None, *, where: str
) -> tuple[MiningChain, GenesisConfig]:
    """Return the chain in ``db``, created from ``genesis`` if the store is empty.

    Raises
    ------
    ConfigError
        If the store holds a chain with other parameters, or is empty and no parameters are given.
    StoreError
        If the store holds parameters but no chain.
    """
    stored = stored_genesis(db, where=where)
    if stored is None:
        if genesis is None:
            raise ConfigError(f"{where}: no chain there yet, and no genesis parameters given")
        return write_genesis(db, genesis), genesis
    if genesis is not None and (difference := genesis.first_difference(stored)):
        name, configured, actual = difference
        raise ConfigError(
            f"{where}: the chain there was started with {name} = {actual!r},"
            f" the configuration has {configured!r}"
        )
    try:
        return chain_class(stored.chain_id)(db), stored
    except CanonicalHeadNotFound as missing:
        raise StoreError(f"{where}: genesis parameters without a chain: damaged") from missing


def stored_genesis(db: BatchingDB, *, where: str) -> GenesisConfig | None:
    """Return the parameters in a store, or ``None`` if it is empty."""
    if GENESIS_KEY not in db:
        return None
    try:
        return GenesisConfig.from_json(db[GENESIS_KEY].decode("utf-8"))
    except (ConfigError, UnicodeDecodeError) as malformed:
        raise StoreError(f"{where}: damaged: {malformed}") from malformed


def write_genesis(db: BatchingDB, genesis: GenesisConfig) -> MiningChain:
    """Write block 0 and the parameters in one commit; return the chain."""
    state: AccountState = {
        to_canonical_address(account): {
            "balance": balance_wei,
            "nonce": 0,
            "code": b"",
            "storage": {},
        }
        for account, balance_wei in genesis.alloc.items()
    }
    parameters: dict[str, HeaderParams] = {
        "difficulty": 0,
        "gas_limit": genesis.gas_limit,
        "timestamp": genesis.timestamp,
        "coinbase": to_canonical_address(genesis.coinbase),
        "base_fee_per_gas": genesis.base_fee_wei,
        "extra_data": b"",
    }
    with db.atomic_batch() as batch:
        batch[GENESIS_KEY] = genesis.to_json().encode("utf-8")
        chain = chain_class(genesis.chain_id).from_genesis(db, parameters, state)
    assert isinstance(chain, MiningChain)
    return chain
