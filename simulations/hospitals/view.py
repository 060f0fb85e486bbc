"""The public view of the running federation, through its RPC and its store.

Models are fetched by their root on chain, re-hashed, and tested on the patients that were not used
for training.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.binding.federation import Federation
from contracts.binding.http_client import HttpClient
from contracts.binding.http_provider import web3_at
from coordinator.models.networks import build_network, load_weights
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.evaluation import EvaluationSummary
from coordinator.protocol.types import Address, RoundId
from coordinator.settings.agreement import FederationAgreement
from coordinator.stores.http import HttpStore
from simulations.hospitals.data import Hospital

_STATUS_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class RoundView:
    """One finished round. ``correct`` are shares of correctly classified test patients.

    By hospital; ``correct_all`` is the share of all test patients.
    """

    number: int
    status: str
    contributors: int
    paid_wei: int
    model_root: bytes
    correct: tuple[float, ...]
    correct_all: float


@dataclass(frozen=True, slots=True)
class HospitalView:
    """One hospital's current state; ``state`` is the one its daemon reports."""

    name: str
    state: str
    online: bool
    trained: int
    bond_wei: int
    claimed_wei: int


class FederationView:
    """A reader of a running federation."""

    def __init__(
        self,
        agreement: FederationAgreement,
        rpc: str,
        store: str,
        ca_file: Path | None,
        hospitals: Sequence[Hospital],
        addresses: Sequence[Address],
        states: Sequence[Path],
    ) -> None:
        self.rpc, self.store_url, self.ca_file = rpc, store, ca_file
        self._agreement = agreement
        self._hospitals, self._addresses, self._states = hospitals, addresses, states
        architecture = agreement.core_architecture
        assert architecture is not None
        self._network = build_network(architecture)
        self._store = HttpStore(store, ca_file=ca_file)
        self._status = HttpClient(store, ca_file=ca_file, attempts=1)
        self._federation: Federation | None = None

    @property
    def federation(self) -> Federation:
        """The contract, once the service answers."""
        if self._federation is None:
            w3 = web3_at(self.rpc, ca_file=self.ca_file)
            self._federation = Federation(w3, Address(self._agreement.contract))
        return self._federation

    def is_up(self) -> bool:
        """Return whether chain and store answer."""
        try:
            self._service()
            return bool(self.federation.head().member_count >= 0)
        except (OSError, ValueError, FedproofError):
            return False

    def rounds(self, after: int) -> list[RoundView]:
        """Return the rounds above a number that are settled, final or void."""
        views = []
        for number in range(after + 1, self.federation.head().last_opened + 1):
            state = self.federation.round(RoundId(number))
            if state.status in (RoundStatus.NONE, RoundStatus.OPEN, RoundStatus.SEALED):
                break
            views.append(self._round(state))
        return views

    def last_final(self) -> int:
        """Return the number of the last final round."""
        return int(self.federation.head().final_round)

    def hospitals(self) -> list[HospitalView]:
        """Return the current state of each hospital."""
        online = {str(a).lower() for a in self._service()["contributors"]["online"]}
        rows = zip(self._hospitals, self._addresses, self._states, strict=True)
        return [
            self._hospital(hospital, address, state, address.lower() in online)
            for hospital, address, state in rows
        ]

    def phase(self) -> str:
        """Return the service's current phase."""
        return str(self._service()["phase"])

    def evaluation(self) -> EvaluationSummary | None:
        """Return the last evaluation of a model, as the hospitals claim it; ``None`` before."""
        said = self._service().get("evaluation")
        return None if said is None else EvaluationSummary.from_json(said, "/status")

    def _service(self) -> dict[str, Any]:
        answer = self._status.get("/status", limit_bytes=_STATUS_BYTES)
        status: dict[str, Any] = json.loads(answer.data)
        return status

    def _hospital(
        self, hospital: Hospital, address: Address, state: Path, online: bool
    ) -> HospitalView:
        account = self.federation.account(address)
        status = _own_status(state)
        return HospitalView(
            hospital.name,
            str(status.get("state", "starting")),
            online,
            int(status.get("trained", 0)),
            account.bond_wei,
            account.claimed_wei,
        )

    def _round(self, state: ChainRound) -> RoundView:
        is_void = state.status is RoundStatus.VOID
        correct, everybody = ((), 0.0) if is_void else self._tested(state.new_model_root)
        return RoundView(
            int(state.round_id),
            state.status.word,
            state.n,
            state.paid_wei,
            state.new_model_root,
            correct,
            everybody,
        )

    def _tested(self, root: bytes) -> tuple[tuple[float, ...], float]:
        """Return a model's share of correctly classified test patients, by hospital and of all."""
        import torch

        manifest = self._agreement.core_manifest
        load_weights(self._network, dequantise(self._store.get_vector(root, manifest), manifest))
        right = []
        with torch.no_grad():
            for hospital in self._hospitals:
                guesses = self._network(torch.from_numpy(hospital.test_x)).argmax(1).numpy()
                right.append(guesses == hospital.test_y)
        everybody = np.concatenate(right)
        return tuple(float(part.mean()) for part in right), float(everybody.mean())


def _own_status(state: Path) -> dict[str, Any]:
    """Return a daemon's own status, empty if it has not written one yet."""
    try:
        status = json.loads(state.read_bytes())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
