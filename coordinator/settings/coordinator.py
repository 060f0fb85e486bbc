"""``coordinator.toml``: how one organisation runs the coordinator of a federation.

Relative paths are relative to the file itself.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from coordinator.settings.base import Port, Section
from coordinator.settings.load import load_settings

WaitSeconds = Annotated[float, Field(ge=0.0, le=86_400.0)]


class KeyFile(Section):
    """An encrypted key file; without ``password_file``, environment or prompt give the password."""

    key: str = Field(min_length=1)
    password_file: str = ""


class CoordinatorChain(Section):
    """The chain: embedded (``rpc`` empty), or any node's JSON-RPC.

    ``block_interval_s`` is the time between two blocks of the embedded chain.
    """

    rpc: str = Field(default="", pattern=r"^(https?://[^\s]+)?$")
    ca: str = ""
    block_interval_s: float = Field(default=0.2, gt=0.0, le=60.0)


class CoordinatorHttp(Section):
    """Status, artifact store and the embedded chain's RPC; TLS wherever it is not loopback.

    ``allowed_hosts`` are Host headers accepted in addition to ``host`` and loopback.
    """

    host: str = "127.0.0.1"
    port: Port = 8700
    certificate: str = ""
    key: str = ""
    allowed_hosts: list[str] = Field(default=[])


class CoordinatorFlower(Section):
    """Flower's SuperLink. ``insecure`` (no TLS, no node authentication) only on loopback.

    ``registry`` names the file with the nodes that may take part, ``nodes`` the folder with
    their public keys.
    """

    host: str = "127.0.0.1"
    port: Port = 9092
    insecure: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    registry: str = "registry.json"


class CoordinatorRound(Section):
    """When rounds open and end.

    ``min_online`` bonded contributors must be there (0: as many as the rule asks for);
    ``rounds`` of 0 goes on without end; ``pause_s`` lies between two rounds; ``presence_s`` is
    how often nodes are looked for while waiting; ``evaluation_s`` is how long participants may
    take to evaluate a model, where the federation agreed on that.
    """

    min_online: int = Field(default=0, ge=0)
    rounds: int = Field(default=0, ge=0)
    pause_s: WaitSeconds = 0.0
    presence_s: float = Field(default=2.0, gt=0.0, le=600.0)
    evaluation_s: float = Field(default=60.0, gt=0.0, le=3_600.0)
    seal_margin_s: float = Field(default=5.0, ge=0.0, le=3_600.0)


class CoordinatorLog(Section):
    """The level of the log, in ``state/logs`` as JSON and on standard error as text."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class CoordinatorSettings(Section):
    """One coordinator.

    ``extensions`` are the rules and scores from outside the package that the agreement names, each
    as ``module:NAME``.
    """

    format: Literal["fedproof-coordinator-1"] = "fedproof-coordinator-1"
    federation: str = "federation.json"
    state: str = "state"
    extensions: list[str] = Field(default=[])
    account: KeyFile
    chain: CoordinatorChain = CoordinatorChain()
    http: CoordinatorHttp = CoordinatorHttp()
    flower: CoordinatorFlower = CoordinatorFlower()
    round: CoordinatorRound = CoordinatorRound()
    log: CoordinatorLog = CoordinatorLog()


def load_coordinator(path: Path) -> CoordinatorSettings:
    """Read ``coordinator.toml``; raises ``ConfigError`` naming file and key."""
    return load_settings(CoordinatorSettings, path)
