"""Reads and checks the participant's files before the daemon runs."""

import sys
from dataclasses import dataclass
from pathlib import Path

# isort: split
from eth_account.signers.local import LocalAccount

from clients.daemon.limits import check_agreement
from clients.data.examples import LocalData, class_count
from clients.data.function import resolve
from clients.data.load import load_data
from clients.mod.verifiable_updates import ClientAppCallable
from coordinator.ledger.reach import is_same_server
from coordinator.local import keyfile as account
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address
from coordinator.settings.agreement import FederationAgreement, read_agreement
from coordinator.settings.checked_training import check_training
from coordinator.settings.coordinator import KeyFile
from coordinator.settings.participant import (
    ParticipantData,
    ParticipantSettings,
    load_participant,
)


@dataclass(frozen=True)
class Setup:
    """A participant's settings, read and checked; relative paths are relative to ``folder``."""

    settings: ParticipantSettings
    folder: Path
    agreement: FederationAgreement

    @property
    def state(self) -> Path:
        """The state folder."""
        return (self.folder / self.settings.state).absolute()

    @property
    def ca(self) -> Path | None:
        """Certificate of the authority that signs the coordinator's certificates."""
        name = self.settings.coordinator.ca
        return (self.folder / name).absolute() if name else None

    @property
    def rpc_ca(self) -> Path | None:
        """The authority for the chain's node: ``ca`` if it is the coordinator's node, else none."""
        reach = self.settings.coordinator
        return self.ca if is_same_server(reach.rpc, reach.store) else None


def read_setup(config: Path) -> Setup:
    """Read ``participant.toml`` and the agreement it names.

    Raises
    ------
    ConfigError
        If a file is missing or malformed, naming file and key; or if the federation does not meet
        one of the participant's limits, naming it.
    """
    settings = load_participant(config)
    folder = config.absolute().parent
    agreement = read_agreement(folder / settings.federation)
    check_agreement(settings.limits, agreement)
    return Setup(settings, folder, agreement)


def open_account(key: KeyFile, folder: Path) -> LocalAccount:
    """Open the account's key file, and remove the password from this process's environment.

    Raises
    ------
    KeyFileError
        If key or password cannot be used.
    """
    password_file = folder / key.password_file if key.password_file else None
    try:
        password = account.password_from(password_file, confirm=False)
        return account.load(folder / key.key, password)
    finally:
        account.scrub_password()


def build_app(setup: Setup, address: Address) -> ClientAppCallable:
    """Return the application: the configured one, or the built-in trainer on the own data.

    Modules named in the settings must be installed, or be in the settings' folder.

    Raises
    ------
    ConfigError
        If it cannot be imported, or the data does not fit the model.
    """
    settings, agreement = setup.settings, setup.agreement
    # Last, so that modules beside the settings cannot replace installed packages.
    sys.path.append(str(setup.folder))
    if settings.app:
        app: ClientAppCallable = resolve(settings.app)
        return app
    from clients.daemon.agreed_model import agreed_model  # torch, only where needed

    model = agreed_model(agreement, settings.model, setup.folder)
    if settings.data is None:
        raise ConfigError("data is missing: expected [data] with what the built-in trainer learns")
    for name in agreement.training.outside_code:
        # Not imported before: whoever founds a federation could name any function there is.
        if name not in settings.extensions:
            raise ConfigError(
                f'the agreement of {agreement.name} trains by "{name}", which is not in extensions '
                "of participant.toml; put it there if that code is to run here"
            )
    try:
        check_training(agreement.training, classes=class_count(model.shape))
    except ValueError as error:
        raise ConfigError(f"the agreement of {agreement.name}: {error}") from error
    from clients.daemon.trainer import trainer_app
    from clients.training.trainer import training_settings

    def loaded(section: ParticipantData) -> LocalData:
        most = settings.limits.max_examples
        return load_data(section, agreement.features, model.shape, setup.folder, most)

    data, test = loaded(settings.data), None
    if agreement.evaluation is not None and settings.limits.evaluate:
        if settings.test_data is not None:
            test = loaded(settings.test_data)
        else:
            data, test = data.split(agreement.evaluation.test_share)
    if len(data) < model.least_batch:
        raise ConfigError(
            f"{data.source}: {len(data)} example; the model has batch norm, which needs at least "
            f"{model.least_batch}"
        )
    return trainer_app(model, data, training_settings(agreement.training), address, test)
