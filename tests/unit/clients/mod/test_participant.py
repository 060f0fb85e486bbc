"""Who a node takes part as: read from its own configuration, every mistake named."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from flwr.app import Context, RecordDict
from service_bench import EXPERIMENT, INITIAL, MANIFEST
from web3 import Web3

from clients.mod import chain_contract
from clients.mod.chain_contract import FederationChainView
from clients.mod.chain_view import chain_round_from_json, chain_round_json
from clients.mod.journal import FileJournal
from clients.mod.participant import from_node_config
from clients.mod.pending import FilePending
from contracts.node.provider import EmbeddedProvider
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ConfigError, KeyFileError, LedgerError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import RoundId
from simulations.run.chain import open_chain
from simulations.run.identities import identities_of, private_key


@pytest.fixture(scope="module")
def chain():
    root = parameter_root(INITIAL, MANIFEST)
    with open_chain(EXPERIMENT, identities_of(EXPERIMENT), None, root) as opened:
        yield opened


@pytest.fixture
def settings(chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    key = tmp_path / "key.json"
    key.touch(mode=0o600)
    secret = private_key(EXPERIMENT.seed, "contributor 0")
    key.write_text(json.dumps(Account.encrypt(secret, "pw", kdf="pbkdf2", iterations=2)))
    (tmp_path / "password").write_text("pw\n")
    (tmp_path / "password").chmod(0o600)
    monkeypatch.setattr(
        chain_contract,
        "web3_at",
        lambda _url, ca_file: Web3(EmbeddedProvider(chain.dispatcher)),
    )
    return {
        "fedproof-key": str(key),
        "fedproof-password": str(tmp_path / "password"),
        "fedproof-rpc": "http://127.0.0.1:1",
        "fedproof-contract": chain.federation.address,
        "fedproof-journal": str(tmp_path / "journal.jsonl"),
    }


def context(settings) -> Context:
    return Context(1, 2, settings, RecordDict(), {})


def test_a_node_is_its_key_its_contract_and_its_journal(chain, settings):
    found = from_node_config(context({**settings, "fedproof-rule": "ab" * 32}))
    assert found.signer.address == chain.identities.addresses[0]
    assert found.chain_view.domain == chain.ledger.domain()
    assert isinstance(found.journal, FileJournal)
    assert found.rule_hash == bytes.fromhex("ab" * 32)
    assert "0x" in repr(found.signer)
    assert private_key(EXPERIMENT.seed, "contributor 0").hex() not in repr(found)


def test_where_sealed_updates_wait_and_what_was_agreed_are_settings_too(settings, tmp_path):
    plain = from_node_config(context(settings))
    assert (plain.pending, plain.sealed) == (None, None)
    folder = str(tmp_path / "pending")
    found = from_node_config(
        context({**settings, "fedproof-pending": folder, "fedproof-sealed": True})
    )
    assert isinstance(found.pending, FilePending)
    assert found.sealed is True
    assert from_node_config(context({**settings, "fedproof-sealed": False})).sealed is False


@pytest.mark.parametrize("value", ["true", 1, ""])
def test_sealed_is_true_or_false(settings, value):
    with pytest.raises(ConfigError, match=r"fedproof-sealed is .*, expected true or false"):
        from_node_config(context({**settings, "fedproof-sealed": value}))


@pytest.mark.parametrize(
    "name", ["fedproof-key", "fedproof-rpc", "fedproof-contract", "fedproof-journal"]
)
@pytest.mark.parametrize("value", [None, "", 7])
def test_a_missing_setting_is_named(settings, name, value):
    changed = {k: v for k, v in settings.items() if k != name}
    if value is not None:
        changed[name] = value
    with pytest.raises(ConfigError, match=name):
        from_node_config(context(changed))


def test_a_wrong_password_is_named(settings, tmp_path):
    (tmp_path / "password").write_text("other\n")
    with pytest.raises(KeyFileError, match="wrong password"):
        from_node_config(context(settings))


def test_an_address_without_a_contract_is_named(settings):
    with pytest.raises(LedgerError, match="no contract"):
        from_node_config(context({**settings, "fedproof-contract": "0x" + "11" * 20}))


def test_the_contract_is_what_a_contributor_sees(chain):
    view = FederationChainView(chain.federation)
    assert view.round(RoundId(1)).status is RoundStatus.NONE
    ledger = chain.ledger
    ledger.open_round(RoundId(1), ledger.head().model_root, b"\4" * 32, ledger.now() + 600)
    facts = view.round(RoundId(1))
    assert (facts.status, facts.model_root) == (RoundStatus.OPEN, ledger.head().model_root)
    assert facts.rule_hash == b"\4" * 32
    assert facts.deadline > ledger.now()
    assert facts.new_model_root == facts.commitments_root == bytes(32)
    ledger.commit_updates(RoundId(1), commitments_root=b"\5" * 32, count=3)
    assert view.round(RoundId(1)).commitments_root == b"\5" * 32
    assert chain_round_from_json(chain_round_json(view.round(RoundId(1)))) == view.round(RoundId(1))
    assert Web3.is_checksum_address(view.domain.verifying_contract)
