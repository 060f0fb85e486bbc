"""Reads a Flower node's participant from the node's own configuration.

Set on the node, never by the coordinator::

    flower-supernode ... --node-config 'fedproof-key="KEY.json" fedproof-password="PW.txt"
        fedproof-rpc="http://127.0.0.1:8545" fedproof-contract="0x..." fedproof-journal="J.jsonl"'

The key is decrypted once per process. Not handled: keys in hardware (write an ``UpdateSigner``).
"""

from pathlib import Path

# isort: split
from flwr.app import Context

from clients.mod.chain_contract import FederationChainView
from clients.mod.journal import FileJournal
from clients.mod.participation import Participant
from clients.mod.pending import FilePending
from clients.mod.signer import KeySigner
from coordinator.local import keyfile as account
from coordinator.protocol.errors import ConfigError
from coordinator.stores.instructions import InstructionFolder

KEY, PASSWORD, RPC, CONTRACT, JOURNAL, RULE, PENDING, SEALED, INSTRUCTIONS = (
    "fedproof-key",
    "fedproof-password",
    "fedproof-rpc",
    "fedproof-contract",
    "fedproof-journal",
    "fedproof-rule",
    "fedproof-pending",
    "fedproof-sealed",
    "fedproof-instructions",
)


def from_node_config(context: Context) -> Participant:
    """Build the participant that ``context.node_config`` describes.

    Raises
    ------
    ConfigError
        If a setting is missing or is not text; the message names it.
    KeyFileError, LedgerError
        If the key cannot be opened, or there is no contract at the address.
    """
    settings = context.node_config
    password_file = _setting(context, PASSWORD) if PASSWORD in settings else None
    password = account.password_from(Path(password_file) if password_file else None, confirm=False)
    key = account.load(Path(_setting(context, KEY)), password)
    rule = bytes.fromhex(_setting(context, RULE)) if RULE in settings else None
    return Participant(
        signer=KeySigner(bytes(key.key)),
        chain_view=FederationChainView.at(_setting(context, RPC), _setting(context, CONTRACT)),
        journal=FileJournal(Path(_setting(context, JOURNAL))),
        rule_hash=rule,
        pending=FilePending(Path(_setting(context, PENDING))) if PENDING in settings else None,
        sealed=_choice(context, SEALED) if SEALED in settings else None,
        instructions=InstructionFolder(_instructions(context)),
    )


def _instructions(context: Context) -> Path:
    """Return the folder for what the coordinator signed: by default one beside the journal."""
    if INSTRUCTIONS in context.node_config:
        return Path(_setting(context, INSTRUCTIONS))
    return Path(_setting(context, JOURNAL)).with_suffix(".instructions")


def _choice(context: Context, name: str) -> bool:
    value = context.node_config[name]
    if not isinstance(value, bool):
        raise ConfigError(f"node config: {name} is {value!r}, expected true or false")
    return value


def _setting(context: Context, name: str) -> str:
    value = context.node_config.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"node config: {name} is {value!r}, expected text")
    return value
