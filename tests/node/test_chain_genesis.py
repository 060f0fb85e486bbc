"""Genesis parameters: stored, compared, and refused by name."""

import pickle

import pytest

from contracts.node.genesis import GENESIS_KEY, GenesisConfig
from contracts.node.kv import SqliteDB
from contracts.node.node import EmbeddedNode
from coordinator.protocol.errors import ConfigError, StoreError
from coordinator.protocol.types import Address, Wei

ACCOUNT = Address("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")


def test_json_round_trip():
    genesis = GenesisConfig(alloc={ACCOUNT: Wei(2**90)}, chain_id=7, timestamp=5, coinbase=ACCOUNT)
    assert GenesisConfig.from_json(genesis.to_json()) == genesis
    assert GenesisConfig.from_json(genesis.to_json()).to_json() == genesis.to_json()


def test_can_be_sent_to_a_worker_and_hashed():
    genesis = GenesisConfig(alloc={ACCOUNT: Wei(2**90)}, timestamp=5)
    assert pickle.loads(pickle.dumps(genesis)) == genesis
    assert hash(genesis) == hash(GenesisConfig(alloc={ACCOUNT: Wei(2**90)}, timestamp=5))


def test_json_does_not_depend_on_the_order_of_accounts():
    other = Address("0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF")
    first = GenesisConfig(alloc={ACCOUNT: Wei(1), other: Wei(2)})
    second = GenesisConfig(alloc={other: Wei(2), ACCOUNT: Wei(1)})
    assert first.to_json() == second.to_json()
    assert (
        EmbeddedNode.create_or_open(None, first).head.hash
        == EmbeddedNode.create_or_open(None, second).head.hash
    )


def test_allocation_cannot_be_changed_later():
    source = {ACCOUNT: Wei(1)}
    genesis = GenesisConfig(alloc=source)
    source[ACCOUNT] = Wei(2)
    assert genesis.alloc[ACCOUNT] == 1
    with pytest.raises(TypeError):
        genesis.alloc[ACCOUNT] = Wei(3)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"chain_id": 0}, "chain_id: found 0"),
        ({"chain_id": True}, "chain_id: found True"),
        ({"timestamp": -1}, "timestamp: found -1"),
        ({"gas_limit": 1_000_000}, "gas_limit: found 1000000, expected an integer 16777216"),
        ({"base_fee_wei": 2**64}, "base_fee_wei"),
        ({"coinbase": "0x12"}, "coinbase: '0x12'"),
        ({"alloc": {ACCOUNT.lower(): 1}}, "alloc: '0x7e5f4552091a69125d5dfcb7b8c2659029395bdf'"),
        ({"alloc": {ACCOUNT: -1}}, rf"alloc\[{ACCOUNT}\]: found -1"),
        ({"alloc": {ACCOUNT: 1.5}}, rf"alloc\[{ACCOUNT}\]: found 1.5"),
    ],
)
def test_bad_values_are_named(fields, named):
    with pytest.raises(ConfigError, match=named):
        GenesisConfig(**fields)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', "nonsense", "[" * 100_000]
)
def test_malformed_json_is_refused(text):
    with pytest.raises(ConfigError):
        GenesisConfig.from_json(text)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chain_id": 2}, "started with chain_id = 1337, the configuration has 2"),
        ({"timestamp": 9}, "started with timestamp = 1700000000, the configuration has 9"),
        ({"gas_limit": 30_000_000}, "gas_limit = 60000000"),
        ({"base_fee_wei": 7}, "base_fee_wei = 1000000000"),
        ({"coinbase": ACCOUNT}, f"the configuration has '{ACCOUNT}'"),
        ({"alloc": {ACCOUNT: 5}}, rf"alloc\[{ACCOUNT}\] = 1, the configuration has 5"),
        ({"alloc": {}}, rf"alloc\[{ACCOUNT}\] = 1, the configuration has None"),
    ],
)
def test_opening_with_other_parameters_names_the_difference(chain_path, changed, message):
    fields = {"alloc": {ACCOUNT: 1}}
    EmbeddedNode.create_or_open(chain_path, GenesisConfig(**fields)).close()
    with pytest.raises(ConfigError, match=message) as caught:
        EmbeddedNode.create_or_open(chain_path, GenesisConfig(**{**fields, **changed}))
    assert str(chain_path) in str(caught.value)
    with EmbeddedNode.create_or_open(chain_path, GenesisConfig(**fields)) as node:
        assert node.get_balance(ACCOUNT) == 1


def test_a_new_chain_needs_parameters(chain_path):
    with pytest.raises(ConfigError, match="no chain there yet, and no genesis parameters given"):
        EmbeddedNode.create_or_open(chain_path)


def test_damaged_parameters_are_named(chain_path):
    EmbeddedNode.create_or_open(chain_path, GenesisConfig()).close()
    db = SqliteDB(chain_path)
    db[GENESIS_KEY] = b"\xff"
    db.checkpoint_and_close()
    with pytest.raises(StoreError, match="damaged"):
        EmbeddedNode.create_or_open(chain_path)


def test_parameters_without_a_chain_are_named(chain_path):
    db = SqliteDB(chain_path)
    db[GENESIS_KEY] = GenesisConfig().to_json().encode()
    db.checkpoint_and_close()
    with pytest.raises(StoreError, match="genesis parameters without a chain"):
        EmbeddedNode.create_or_open(chain_path)
