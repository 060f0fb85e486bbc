"""The plan of a service before it starts: settings resolved, files read, key opened."""

import socket
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount

from contracts.binding.records import Terms
from contracts.node.serving import is_loopback
from coordinator.flower.processes import EngineSettings
from coordinator.flower.scheduler import Pace
from coordinator.local import keyfile
from coordinator.protocol.errors import ConfigError, UnknownRuleError
from coordinator.protocol.rules.chosen import chosen, quorum
from coordinator.service.agreement import plan_of
from coordinator.service.plan import FederationPlan
from coordinator.service.scorers import loaded_score
from coordinator.settings.agreement import FederationAgreement, read_agreement
from coordinator.settings.coordinator import CoordinatorSettings, load_coordinator
from coordinator.settings.rules import load_extensions
from coordinator.stores.instructions import InstructionFolder


@dataclass(frozen=True)
class ServicePlan:
    """One coordinator's configuration, with absolute paths."""

    settings: CoordinatorSettings
    folder: Path
    agreement: FederationAgreement

    @classmethod
    def read(cls, config: Path) -> "ServicePlan":
        """Read ``coordinator.toml`` and the agreement that it names.

        Raises
        ------
        ConfigError
            If a file is missing or malformed, or the agreement's rule is not loaded; names file
            and key.
        """
        settings = load_coordinator(config)
        load_extensions(settings.extensions, f"{config}: extensions")
        folder = config.absolute().parent
        agreement = read_agreement(folder / settings.federation)
        try:
            chosen(agreement.core_rule)
            loaded_score(str(agreement.scoring.get("kind")))
        except UnknownRuleError as error:
            raise ConfigError(
                f"{folder / settings.federation}: {error}; a rule or a score of your own is named "
                f"in {config}: extensions"
            ) from error
        return cls(settings, folder, agreement)

    @property
    def state(self) -> Path:
        """The service's own folder."""
        return self.folder / self.settings.state

    def path(self, text: str) -> Path | None:
        """Return a path of the settings made absolute, ``None`` for an empty text."""
        return self.folder / text if text else None

    @property
    def http_files(self) -> dict[str, Path | None]:
        """Certificate and key of the HTTP port, as ``serve_http`` calls them."""
        section = self.settings.http
        return {"certfile": self.path(section.certificate), "keyfile": self.path(section.key)}

    def open_account(self) -> LocalAccount:
        """Open the coordinator's key.

        Raises
        ------
        KeyFileError
            If key or password cannot be read.
        """
        section = self.settings.account
        password = keyfile.password_from(self.path(section.password_file), confirm=False)
        keyfile.scrub_password()
        return keyfile.load(self.folder / section.key, password)

    def instructions(self) -> InstructionFolder:
        """Return where the instructions that were signed are kept, to be sent again."""
        return InstructionFolder(self.state / "instructions", whole=True)

    def federation_plan(self, terms: Terms) -> FederationPlan:
        """Return the round service's plan."""
        return plan_of(self.agreement, terms.min_stake_wei)

    def pace(self, terms: Terms) -> Pace:
        """Return the conditions for opening and closing rounds.

        Raises
        ------
        ConfigError
            If rounds would be closed as soon as they open.
        """
        section = self.settings.round
        if section.seal_margin_s >= self.agreement.round_duration_s:
            raise ConfigError(
                f"round.seal_margin_s = {section.seal_margin_s:g} must be less than the agreed "
                f"round_duration_s = {self.agreement.round_duration_s}"
            )
        least = quorum(self.agreement.core_rule)
        return Pace(
            min_online=max(section.min_online, least),
            rounds=section.rounds,
            seal_margin_s=section.seal_margin_s,
            min_open_s=terms.min_open_s,
        )

    def engine_settings(self) -> EngineSettings:
        """Return the address and certificate of the SuperLink.

        Raises
        ------
        ConfigError
            If other hosts could reach it without TLS, or not all of its TLS files are given.
        """
        section = self.settings.flower
        named = {name: getattr(section, name) for name in ("ca", "certificate", "key")}
        missing = [f"flower.{name}" for name, text in named.items() if not text]
        if section.insecure and not is_loopback(section.host):
            raise ConfigError(
                f"flower.insecure = true with flower.host = {section.host!r}: without TLS the "
                "SuperLink may only listen on a loopback address"
            )
        if not section.insecure and missing:
            raise ConfigError(
                f"{', '.join(missing)}: not given; the SuperLink needs TLS unless "
                "flower.insecure = true on a loopback address"
            )
        files = {n: None if section.insecure else self.folder / t for n, t in named.items()}
        for name, file in files.items():
            if file is not None and not file.is_file():
                raise ConfigError(f"flower.{name}: {file}: there is no such file")
        return EngineSettings(
            host=section.host,
            port=section.port or free_port(section.host),
            certificate=files["certificate"],
            key=files["key"],
            ca=files["ca"],
            registry=self.folder / section.registry,
            vector_bytes=4 * self.agreement.core_manifest.dimension,
        )


def free_port(host: str) -> int:
    """Return a TCP port that is free now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
