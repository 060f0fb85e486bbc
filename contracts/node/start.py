"""Open the chain in a store, or write its genesis block there."""

from eth.chains.base import MiningChain
from eth.exceptions import CanonicalHeadNotFound
from eth.typing import AccountState, HeaderParams
from eth_utils.address import to_canonical_address

from contracts.node.batching import BatchingDB
from contracts.node.evm import chain_class
from contracts.node.genesis import GENESIS_KEY, GenesisConfig
from coordinator.protocol.errors import ConfigError, StoreError


def open_chain(
    db: BatchingDB, genesis: GenesisConfig | None, *, where: str
) -> tuple[MiningChain, GenesisConfig]:
    """Return the chain in ``db``, started from ``genesis`` if the store is empty.

    Raises
    ------
    ConfigError
        If the store holds a chain with other parameters, or is empty and none are given.
    StoreError
        If the store holds parameters but no chain.
    """
    stored = stored_genesis(db, where=where)
    if stored is None:
        if genesis is None:
            raise ConfigError(f"{where}: no chain there yet, and no genesis parameters given")
        return write_genesis(db, genesis), genesis
    if genesis is not None and (difference := genesis.first_difference(stored)):
        name, asked, found = difference
        raise ConfigError(
            f"{where}: the chain there was started with {name} = {found!r},"
            f" the configuration says {asked!r}"
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
