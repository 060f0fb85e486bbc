"""A real federation for the example app: embedded chain over HTTP, two bonded key files.

The flwr processes of the end-to-end test import :func:`service`, which reads the federation's
addresses and keys from the file named by ``DIGITS_FEDERATION``.
"""

import difflib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eth_account import Account
from web3 import Web3

from contracts.binding.federation import Federation
from contracts.node.server import serve_in_thread
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Address, Rule, UpdateLimits
from coordinator.service.archive import publish_plan
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import RuleScorer, scoring_digest, scoring_document
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal
from simulations.experiment.schema import Experiment
from simulations.run.chain import SimulatedChain, open_chain
from simulations.run.identities import identities_of, private_key

CLIENTS = 2
VARIABLE = "DIGITS_FEDERATION"
PLAIN_APP = Path(__file__).parents[1] / "e2e" / "flower" / "plain_app"
PASSWORD = "not a secret"
EXPERIMENT = Experiment.model_validate(
    {
        "seed": 11,
        "rounds": 2,
        "partition": {"kind": "iid", "clients": CLIENTS},
        "cohort": {"min_contributors": CLIENTS},
        "chain": {"challenge_window_s": 0},
    }
)
ONE_MOD = {
    "from digits_app.task import Net": (
        "from fedproof import VerifiableUpdates\nfrom digits_app.task import Net"
    ),
    "app = ClientApp()": "app = ClientApp(mods=[VerifiableUpdates()])",
}
SEALED_MOD = {
    **ONE_MOD,
    "from digits_app.task import Net": (
        "from fedproof import VerifiableUpdates, no_queries\nfrom digits_app.task import Net"
    ),
    "app = ClientApp()": ("app = ClientApp(mods=[VerifiableUpdates()])\napp.query()(no_queries)"),
}
ONE_STRATEGY = {
    "from flwr.serverapp.strategy import FedAvg": (
        "from fedproof import FedproofStrategy\nfrom digits_federation import service"
    ),
    "FedAvg(": "FedproofStrategy(service(), ",
}


def make_verifiable(folder: Path, *, sealed: bool = False) -> int:
    """Copy the example to ``folder``, add one mod, swap one strategy; return lines changed."""
    mod = SEALED_MOD if sealed else ONE_MOD
    shutil.copytree(PLAIN_APP, folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed = 0
    for name, changes in (("client_app.py", mod), ("server_app.py", ONE_STRATEGY)):
        file = folder / "digits_app" / name
        before = after = file.read_text()
        for old, new in changes.items():
            assert after.count(old) == 1, (name, old)
            after = after.replace(old, new)
        file.write_text(after)
        lines = difflib.ndiff(before.splitlines(), after.splitlines())
        changed += sum(line.startswith("+ ") for line in lines)
    return changed


@dataclass(frozen=True)
class DigitsFederation:
    """The chain as the test sees it, and the configuration of each node."""

    chain: SimulatedChain
    store: DiskStore
    node_configs: list[dict[str, str | int]]


def plan() -> tuple[FederationPlan, dict]:
    """Return the federation's plan and the initial model, which is the example app's."""
    from digits_app.task import initial_model

    initial = {name: tensor.numpy() for name, tensor in initial_model().state_dict().items()}
    manifest = Manifest.of(initial)
    rule = Rule(
        version=1,
        kind=1,
        weighting=1,
        num_byzantine=0,
        examples_cap=10_000,
        server_lr_q16=1 << 16,
        server_momentum_q16=0,
        manifest_hash=manifest.digest(),
        dimension=manifest.dimension,
        chunk_values=manifest.chunk_values,
        scale_bits=manifest.scale_bits,
        min_contributors=CLIENTS,
        norm_bound_q=0,
        scoring_hash=scoring_digest(scoring_document("examples")),
    )
    return FederationPlan(manifest, rule, 3600, UpdateLimits()), initial


@contextmanager
def digits_federation(folder: Path, *, sealed: bool = False) -> Iterator[DigitsFederation]:
    """Deploy, bond and serve a federation; ``digits_app`` must be importable."""
    agreed, initial = plan()
    model = quantise(initial, agreed.manifest)
    folder.mkdir()
    store = DiskStore(folder / "blobs")
    publish_plan(store, agreed, model)
    identities = identities_of(EXPERIMENT)
    root = parameter_root(model, agreed.manifest)
    with (
        open_chain(EXPERIMENT, identities, None, root) as chain,
        serve_in_thread(chain.dispatcher, port=0) as server,
    ):
        about: dict[str, Any] = {
            "rpc": server.url,
            "contract": chain.federation.address,
            "coordinator": private_key(EXPERIMENT.seed, "coordinator").hex(),
            "folder": str(folder),
            "sealed": sealed,
        }
        (folder / "federation.json").write_text(json.dumps(about))
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        yield DigitsFederation(chain, store, [_node(folder, about, i) for i in range(CLIENTS)])
    store.close()


def _node(folder: Path, about: dict[str, Any], client: int) -> dict[str, str | int]:
    key = private_key(EXPERIMENT.seed, f"contributor {client}")
    file = folder / f"key{client}.json"
    # 2 rounds of key stretching instead of 2^18: every message starts a process that opens it
    text = json.dumps(Account.encrypt(key, PASSWORD, kdf="pbkdf2", iterations=2))
    file.touch(mode=0o600)
    file.write_text(text)
    return {
        "partition-id": client,
        "num-partitions": CLIENTS,
        "fedproof-key": str(file),
        "fedproof-password": str(folder / "password"),
        "fedproof-rpc": about["rpc"],
        "fedproof-contract": about["contract"],
        "fedproof-journal": str(folder / f"journal{client}.jsonl"),
        "fedproof-sealed": about["sealed"],
    }


def service() -> RoundService:
    """Return the round service of the federation that the environment names."""
    about = json.loads(Path(os.environ[VARIABLE]).read_text())
    federation = Federation(Web3(Web3.HTTPProvider(about["rpc"])), Address(about["contract"]))
    ledger = ChainLedger(federation, Account.from_key(about["coordinator"]))
    folder = Path(about["folder"])
    store, journal = DiskStore(folder / "blobs"), FileJournal(folder / "rounds")
    agreed = replace(plan()[0], sealed=about["sealed"])
    return RoundService(ledger, store, journal, RuleScorer("examples"), agreed)
