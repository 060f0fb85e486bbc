"""The simulated contributors in worker processes: each misbehaviour meets its own fate."""

from pathlib import Path

import pytest
from flwr.app import ArrayRecord
from memory_ledger import CONTRACT, MemoryJournal, MemoryLedger

from coordinator.flower.strategy import ServiceStrategy
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import RoundId, SigningDomain, Wei
from coordinator.service.archive import publish_plan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import scorer_from
from coordinator.stores.disk import DiskStore
from simulations.data import load_dataset
from simulations.engines.ledger_view import LedgerChainView
from simulations.engines.process import PoolGrid
from simulations.engines.spec import SimulationSpec
from simulations.experiment.schema import Experiment
from simulations.run.agreement import agree
from simulations.run.client_app import FACTORY
from simulations.run.cohort import cohort_sampler, node_configs, public_updates
from simulations.run.identities import identities_of
from simulations.run.plain import run_plain

KINDS = [
    "replay",
    "copy",
    "sign_flip",
    "equivocate",
    "nan",
    "wrong_shape",
    "wrong_round",
    "bad_signature",
    "silent",
]
EXPERIMENT = Experiment.model_validate(
    {
        "seed": 3,
        "rounds": 2,
        "data": {"kind": "digits", "max_train": 240},
        "model": {"kind": "logistic"},
        "partition": {"kind": "iid", "clients": len(KINDS) + 2},
        "cohort": {"min_contributors": 2},
        "behaviours": [{"kind": k, "clients": [i + 2]} for i, k in enumerate(KINDS)],
    }
)


class Simulated:
    """Two rounds on an in-memory ledger; the store is on disk, for the copier to read."""

    def __init__(self, folder: Path, workers: int) -> None:
        agreement = agree(EXPERIMENT, load_dataset(EXPERIMENT.data, None, EXPERIMENT.seed))
        self.people = identities_of(EXPERIMENT)
        self.store, self.journal = DiskStore(folder / "blobs"), MemoryJournal()
        root = publish_plan(self.store, agreement.plan, agreement.initial_model)
        self.ledger = MemoryLedger(
            root,
            {address: Wei(10**18) for address in self.people.addresses},
            SigningDomain(1337, CONTRACT),
            Wei(1000),
            Wei(9000),
            min_contributors=2,
        )
        scorer = scorer_from(agreement.scoring, self.store)
        service = RoundService(self.ledger, self.store, self.journal, scorer, agreement.plan)
        nodes = node_configs(EXPERIMENT)
        self.roots: list[str] = []
        self.accepted: list[set[int]] = []
        with PoolGrid(
            FACTORY,
            nodes,
            spec=SimulationSpec(EXPERIMENT, None, folder / "blobs"),
            workers=workers,
            seed=EXPERIMENT.seed,
            chain_view=LedgerChainView(self.ledger),
            segment_base=folder,
        ) as grid:
            ServiceStrategy(
                service,
                fraction_evaluate=0.25,
                sampler=cohort_sampler(EXPERIMENT, nodes),
                round_config=lambda announced: public_updates(
                    announced, self.ledger, self.store, self.people.addresses
                ),
                on_round=self.keep,
            ).start(grid, ArrayRecord(agreement.initial_state), EXPERIMENT.rounds)
        self.store.close()

    def keep(self, report) -> None:
        clients = {address: i for i, address in enumerate(self.people.addresses)}
        self.roots.append(report.outcome.model_root.hex())
        self.accepted.append({clients[a] for a in report.outcome.accepted})

    def fates(self, number: int) -> dict[str, str]:
        """Return kind to refusal code, for those refused in a round."""
        names = {address: i for i, address in enumerate(self.people.addresses)}
        found = {}
        for row in self.journal.entries[number]["refusals"]:
            sender = row["sender"].split(" ")
            client = int(sender[1]) - 2 if sender[0] == "node" else names[sender[0]]
            found[KINDS[client - 2]] = row["code"]
        return found


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Simulated:
    return Simulated(tmp_path_factory.mktemp("two"), workers=2)


def test_each_misbehaviour_meets_its_fate(simulated):
    fates = simulated.fates(1)
    assert fates.pop("bad_signature") in ("wrong-signer", "unrecoverable")
    assert fates == {
        "equivocate": "equivocation",
        "nan": "wrong-dtype",
        "wrong_shape": "wrong-shape",
        "wrong_round": "wrong-round",
        "silent": "no-reply",
    }
    honest_looking = {0, 1, *(2 + KINDS.index(k) for k in ("replay", "copy", "sign_flip"))}
    assert simulated.accepted == [honest_looking, honest_looking]


def test_the_equivocator_loses_its_bond_and_is_out(simulated):
    address = simulated.people.addresses[2 + KINDS.index("equivocate")]
    assert simulated.ledger.slashed == {(1, address): 10**18}
    assert simulated.fates(2)["equivocate"] == "not-bonded"


def test_a_copier_signs_what_another_published_the_round_before(simulated):
    def updates(number: int) -> dict[str, bytes]:
        root = simulated.ledger.round(RoundId(number)).contributors_root
        document = simulated.store.get_document("contributors", root)
        return {row["contributor"]: row["update"] for row in document["contributors"]}

    copier = simulated.people.addresses[2 + KINDS.index("copy")]
    assert updates(2)[copier] == updates(1)[simulated.people.addresses[0]]
    assert updates(2)[copier] != updates(2)[simulated.people.addresses[0]]


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(simulated, tmp_path):
    one = Simulated(tmp_path, workers=1)
    assert one.roots == simulated.roots
    assert one.journal.entries == simulated.journal.entries


def test_an_equivocator_has_a_second_node():
    nodes = node_configs(EXPERIMENT)
    client = 2 + KINDS.index("equivocate")
    assert len(nodes) == EXPERIMENT.partition.clients + 1
    assert nodes[max(nodes)] == {"client": client, "shadow": True}
    assert nodes[client + 2] == {"client": client, "shadow": False}
    assert min(nodes) == 2


def test_a_cohort_counts_contributors_not_nodes():
    nodes = node_configs(EXPERIMENT)
    sampler = cohort_sampler(EXPERIMENT, nodes)
    small = type(sampler)(sampler.seed, 4, nodes)
    cohorts = [small(RoundId(r), sorted(nodes)) for r in range(1, 40)]
    assert cohorts == [small(RoundId(r), sorted(nodes)) for r in range(1, 40)]
    for cohort in cohorts:
        assert len({nodes[node]["client"] for node in cohort}) == 4
    equivocator = 2 + KINDS.index("equivocate")
    both = {equivocator + 2, max(nodes)}
    assert {frozenset(both & set(cohort)) for cohort in cohorts} == {frozenset(), frozenset(both)}


def test_the_plain_engine_trains_the_same_clients(tmp_path):
    run = run_plain(EXPERIMENT, workers=2)
    assert len(run.seconds) == 2
    agreement = agree(EXPERIMENT, load_dataset(EXPERIMENT.data, None, EXPERIMENT.seed))
    for name, before in agreement.initial_state.items():
        after = run.arrays[name].numpy()
        assert after.shape == tuple(before.shape)
        assert (after != before.numpy()).any()


def test_a_node_that_says_not_who_it_is_is_refused():
    from flwr.app import Context, RecordDict

    from simulations.run.cohort import client_of

    assert client_of(Context(1, 2, {"client": 3}, RecordDict(), {})) == 3
    for config in ({}, {"client": "3"}, {"client": -1}, {"client": True}):
        with pytest.raises(ConfigError, match="client"):
            client_of(Context(1, 2, config, RecordDict(), {}))
