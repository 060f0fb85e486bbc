"""The recorder of an experiment: its contributors, and the tests of its models."""

from collections.abc import Mapping

# isort: split
from flwr.app import UserConfig

from clients.training.trainer import use_one_thread
from coordinator.ports import ArtifactStore, RoundJournal
from simulations.attacks.contributor import behaviour_name
from simulations.experiment.models import build_model
from simulations.experiment.schema import Experiment
from simulations.run.agreement import Agreement
from simulations.run.chain import SimulatedChain
from simulations.run.cohort import CLIENT
from simulations.run.round_records import NODE_PREFIX, RoundRecorder, Tester, Trainer


def experiment_recorder(
    experiment: Experiment,
    agreement: Agreement,
    chain: SimulatedChain,
    store: ArtifactStore,
    journal: RoundJournal,
    nodes: Mapping[int, UserConfig],
) -> RoundRecorder:
    """Return the recorder of an experiment; torch uses one thread from here on."""
    dataset = agreement.dataset
    use_one_thread()  # so that test figures are the same to the last bit in every run
    model = build_model(experiment.model, dataset.input_shape, dataset.num_classes, experiment.seed)
    tester = Tester(
        model,
        agreement.plan.manifest,
        dataset,
        store,
        every=experiment.evaluation.every,
        last=experiment.rounds,
        metrics=experiment.metrics,
    )
    shares = agreement.shares
    trainers = [
        Trainer(name, behaviour_name(experiment.behaviours, client), len(indices))
        for client, (name, indices) in enumerate(zip(shares.names, shares.indices, strict=True))
    ]
    senders: dict[str, int] = {a: i for i, a in enumerate(chain.identities.addresses)}
    senders |= {f"{NODE_PREFIX}{node}": int(c[CLIENT]) for node, c in nodes.items()}
    return RoundRecorder(
        agreement.plan.rule,
        trainers,
        chain,
        store,
        journal,
        senders,
        tester,
        has_metrics=bool(experiment.metrics),
    )
