"""The public interface of Fedproof: the one module that code outside this project imports.

Every name is described in ``docs/api.md``. What is not in ``__all__`` is private and may change
without notice. A name's module is imported when the name is first used, so that ``import
fedproof`` itself is cheap: it imports neither torch nor Flower nor web3 nor py-evm (ADR 144).

``python -m fedproof`` is the ``fedproof`` command.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final


def _share_names() -> None:
    """Find our packages though an application has some of the same names (ADR 154)."""
    file = Path(__file__).with_name("coordinator") / "shared_names.py"
    spec = importlib.util.spec_from_file_location("_fedproof_shared_names", file)
    assert spec is not None  # it is a Python file
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.share()


_share_names()

from coordinator import __version__  # noqa: E402  (our packages can be found now)

if TYPE_CHECKING:  # the same names as below, for type checkers; a test compares the two
    from clients.mod.chain_contract import FederationChainView
    from clients.mod.journal import FileJournal
    from clients.mod.numpy_clients import numpy_clients
    from clients.mod.participation import Participant
    from clients.mod.pending import FilePending
    from clients.mod.signer import KeySigner, UpdateSigner
    from clients.mod.verifiable_updates import VerifiableUpdates, no_queries
    from coordinator.audit.verify.any_folder import verify
    from coordinator.audit.verify.findings import Fault, Findings, RoundFinding
    from coordinator.flower.strategy import RoundReport
    from coordinator.protocol.equivocation import EquivocationError
    from coordinator.protocol.errors import (
        AggregationError,
        BlobCorruptError,
        BlobMissingError,
        ChainUnavailableError,
        ConfigError,
        ContributorError,
        FedproofError,
        KeyFileError,
        LedgerError,
        MalformedUpdateError,
        PhaseError,
        SignatureError,
        StoreError,
        TransactionRevertedError,
        VerificationError,
    )
    from coordinator.protocol.numbers.norms import squared_norm
    from coordinator.protocol.options import Option
    from coordinator.protocol.rules.base import AggregationInput, AggregationRule
    from coordinator.protocol.rules.weighted_mean import weighted_mean
    from coordinator.protocol.scores.base import ScoreInput, ScoringRule
    from coordinator.protocol.scores.scoring_round import ScoringRound
    from coordinator.protocol.types import WEIGHT_TOTAL
    from coordinator.settings.agreement import read_agreement
    from coordinator.settings.models.base import ModelKind
    from coordinator.stores.instructions import InstructionFolder
    from simulations.attacks.contributor.base import (
        AttackContext,
        ContributorAttack,
        LocalData,
        Reply,
        UpdateContext,
    )
    from simulations.attacks.coordinator.base import CoordinatorAttack
    from simulations.data.base import DataSource
    from simulations.data.dataset import Dataset, assemble, split_by_class
    from simulations.engines.process import PoolGrid
    from simulations.experiment.load import load_experiment, shipped_experiments
    from simulations.experiment.schema import Experiment
    from simulations.metrics.base import Metric, Predictions
    from simulations.partitions.base import PartitionRule
    from simulations.report.records import ContributorRecord, RoundRecord
    from simulations.run.local_participant import local_participant
    from simulations.run.result import Run
    from simulations.run.simulate import simulate
    from simulations.run.strategy import FedproofStrategy

__all__ = [
    "WEIGHT_TOTAL",
    "AggregationError",
    "AggregationInput",
    "AggregationRule",
    "AttackContext",
    "BlobCorruptError",
    "BlobMissingError",
    "ChainUnavailableError",
    "ConfigError",
    "ContributorAttack",
    "ContributorError",
    "ContributorRecord",
    "CoordinatorAttack",
    "DataSource",
    "Dataset",
    "EquivocationError",
    "Experiment",
    "Fault",
    "FederationChainView",
    "FedproofError",
    "FedproofStrategy",
    "FileJournal",
    "FilePending",
    "Findings",
    "InstructionFolder",
    "KeyFileError",
    "KeySigner",
    "LedgerError",
    "LocalData",
    "MalformedUpdateError",
    "Metric",
    "ModelKind",
    "Option",
    "Participant",
    "PartitionRule",
    "PhaseError",
    "PoolGrid",
    "Predictions",
    "Reply",
    "RoundFinding",
    "RoundRecord",
    "RoundReport",
    "Run",
    "ScoreInput",
    "ScoringRound",
    "ScoringRule",
    "SignatureError",
    "StoreError",
    "TransactionRevertedError",
    "UpdateContext",
    "UpdateSigner",
    "VerifiableUpdates",
    "VerificationError",
    "__version__",
    "assemble",
    "load_experiment",
    "local_participant",
    "no_queries",
    "numpy_clients",
    "read_agreement",
    "shipped_experiments",
    "simulate",
    "split_by_class",
    "squared_norm",
    "verify",
    "weighted_mean",
]

_MODULES: Final = {
    "clients.mod.chain_contract": ["FederationChainView"],
    "clients.mod.journal": ["FileJournal"],
    "clients.mod.numpy_clients": ["numpy_clients"],
    "clients.mod.participation": ["Participant"],
    "clients.mod.pending": ["FilePending"],
    "clients.mod.signer": ["KeySigner", "UpdateSigner"],
    "clients.mod.verifiable_updates": ["VerifiableUpdates", "no_queries"],
    "coordinator.audit.verify.any_folder": ["verify"],
    "coordinator.audit.verify.findings": ["Fault", "Findings", "RoundFinding"],
    "coordinator.flower.strategy": ["RoundReport"],
    "coordinator.protocol.equivocation": ["EquivocationError"],
    "coordinator.protocol.errors": [
        name for name in __all__ if name.endswith("Error") and name != "EquivocationError"
    ],
    "coordinator.protocol.numbers.norms": ["squared_norm"],
    "coordinator.protocol.options": ["Option"],
    "coordinator.protocol.rules.base": ["AggregationInput", "AggregationRule"],
    "coordinator.protocol.rules.weighted_mean": ["weighted_mean"],
    "coordinator.protocol.scores.base": ["ScoreInput", "ScoringRule"],
    "coordinator.protocol.scores.scoring_round": ["ScoringRound"],
    "coordinator.protocol.types": ["WEIGHT_TOTAL"],
    "simulations.data.base": ["DataSource"],
    "simulations.data.dataset": ["Dataset", "assemble", "split_by_class"],
    "simulations.metrics.base": ["Metric", "Predictions"],
    "simulations.partitions.base": ["PartitionRule"],
    "coordinator.settings.agreement": ["read_agreement"],
    "coordinator.settings.models.base": ["ModelKind"],
    "coordinator.stores.instructions": ["InstructionFolder"],
    "simulations.attacks.contributor.base": [
        "AttackContext",
        "ContributorAttack",
        "LocalData",
        "Reply",
        "UpdateContext",
    ],
    "simulations.attacks.coordinator.base": ["CoordinatorAttack"],
    "simulations.engines.process": ["PoolGrid"],
    "simulations.experiment.schema": ["Experiment"],
    "simulations.experiment.load": ["load_experiment", "shipped_experiments"],
    "simulations.report.records": ["ContributorRecord", "RoundRecord"],
    "simulations.run.local_participant": ["local_participant"],
    "simulations.run.result": ["Run"],
    "simulations.run.simulate": ["simulate"],
    "simulations.run.strategy": ["FedproofStrategy"],
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if __name__ == "__main__":
    from simulations.__main__ import main

    main()
