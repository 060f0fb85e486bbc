"""``participant.toml``: how one organisation takes part in a federation.

Relative paths are relative to the file itself.
"""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue

from coordinator.protocol.amounts import ETHER
from coordinator.settings.base import Section, WeiAmount, by_kind
from coordinator.settings.coordinator import CoordinatorLog, KeyFile
from coordinator.settings.load import load_settings

CONFIRMATIONS: Final = 12
"""Default on a chain that is not the embedded one: about two and a half minutes on Ethereum."""


class CoordinatorReach(Section):
    """The URLs of the federation; ``ca`` is the certificate authority of all of them.

    ``rpc`` may be any node of the chain, ideally the participant's own. ``confirmations`` is the
    number of later blocks after which a block is remembered as seen; see :attr:`depth`.
    ``superlink`` is ``host:port``, an IPv6 address in brackets: ``[::1]:9092``.
    """

    rpc: str = Field(pattern=r"^https?://[^\s]+$")
    store: str = Field(pattern=r"^https?://[^\s]+$")
    superlink: str = Field(pattern=r"^([^\s:\[\]]+|\[[0-9A-Fa-f:.%]+\]):\d{1,5}$")
    ca: str = ""
    confirmations: int | None = Field(default=None, ge=0, le=10_000)

    @property
    def depth(self) -> int:
        """Number of later blocks after which a block is remembered as seen.

        By default 0 if the node is at the coordinator's own port: that is the embedded chain, which
        never replaces a block. Any other chain may replace its newest blocks (ADR 0152).
        """
        if self.confirmations is not None:
            return self.confirmations
        is_embedded = urlsplit(self.rpc).netloc.lower() == urlsplit(self.store).netloc.lower()
        return 0 if is_embedded else CONFIRMATIONS


class ParticipantNode(Section):
    """The SuperNode's key (OpenSSH), and the port of its API for its own processes.

    ``config`` is passed to ``app`` as Flower's node configuration.
    """

    key: str = ""
    port: int = Field(default=0, ge=0, le=65_535)
    config: dict[str, bool | int | float | str] = Field(default={})


class TableData(Section):
    """A table: ``features`` empty means all columns but the label.

    The label column holds class numbers, or one of ``classes``, or a number that means class 1
    where it is above ``positive_above``. Missing values become ``fill`` (``"mean"``: the agreed
    mean), or are a mistake where there is no fill.
    """

    path: str = Field(min_length=1)
    label: str = Field(default="label", min_length=1)
    features: list[str] = Field(default=[])
    classes: list[str] = Field(default=[])
    positive_above: float | None = None
    fill: float | Literal["mean"] | None = None


class CsvData(TableData):
    """A CSV file; ``columns`` names the columns of a file without a header line.

    Cells equal to one of ``missing`` are missing values.
    """

    kind: Literal["csv"] = "csv"
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    columns: list[str] = Field(default=[])
    missing: list[str] = Field(default=["", "?"])


class ParquetData(TableData):
    """A Parquet file (the ``parquet`` extra); null and NaN are missing values."""

    kind: Literal["parquet"]


class NumpyData(Section):
    """An ``.npz`` with two arrays, or two ``.npy`` files (``path`` and ``labels_path``)."""

    kind: Literal["numpy"]
    path: str = Field(min_length=1)
    labels_path: str = ""
    features: str = "x"
    labels: str = "y"


class IdxData(Section):
    """Images and labels in the IDX format of MNIST, gzipped or not."""

    kind: Literal["idx"]
    images: str = Field(min_length=1)
    labels: str = Field(min_length=1)


class ImageFolderData(Section):
    """One folder a class; classes are numbered in the order given, or of their names.

    ``images`` is what experiments call it; both mean the same.
    """

    kind: Literal["images", "image_folder"]
    path: str = Field(min_length=1)
    classes: list[str] = Field(default=[])
    grey: bool = False


class PythonData(Section):
    """A function ``module:function`` that returns features and labels, called with ``options``."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    options: dict[str, JsonValue] = Field(default={})


ParticipantData = Annotated[
    Annotated[
        CsvData | ParquetData | NumpyData | IdxData | ImageFolderData | PythonData,
        Field(discriminator="kind"),
    ],
    by_kind("csv"),
]


class DataUse(Section):
    """The participant's own limits on the use of its data; 0 is no limit.

    ``rounds`` in all, ``min_contributors`` the rule must ask for (so that an aggregate hides
    one's own update), ``max_examples`` of the data at most, ``sealed_only`` refuses federations
    in which updates could be copied. Without ``evaluate`` nothing is said of how well a model does
    on the data, and all of the data is trained on.
    """

    rounds: int = Field(default=0, ge=0)
    min_contributors: int = Field(default=0, ge=0)
    max_examples: int = Field(default=0, ge=0)
    sealed_only: bool = False
    evaluate: bool = True


class ParticipantStake(Section):
    """``join`` bonds ``bond_wei`` automatically (0: the contract's minimum)."""

    join: bool = True
    bond_wei: WeiAmount = 0


class ParticipantRewards(Section):
    """Claim automatically once at least ``claim_above_wei`` is owed; 0 never does."""

    claim_above_wei: WeiAmount = ETHER // 10


class ParticipantModels(Section):
    """Number of newest final models kept in ``state/models``; 0 keeps all."""

    keep: int = Field(default=10, ge=0)


class ParticipantSettings(Section):
    """One participant. ``app`` names an unmodified Flower ClientApp, ``module:app``.

    Without it the built-in trainer learns the federation's model from ``data``. ``model`` names the
    participant's copy of it where it is a module of one's own; it is read when the daemon starts,
    since that may import the module. Where the federation agreed on
    evaluation, models are tested on ``test_data``, or else on the agreed share of ``data``, which
    is not trained on then. ``extensions`` are functions ``module:name`` that the
    agreement may have called here.
    """

    format: Literal["fedproof-participant-1"] = "fedproof-participant-1"
    name: str = Field(default="participant", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    federation: str = "federation.json"
    state: str = "state"
    account: KeyFile
    coordinator: CoordinatorReach
    node: ParticipantNode = ParticipantNode()
    app: str = Field(default="", pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")
    model: dict[str, JsonValue] | None = None
    data: ParticipantData | None = None
    test_data: ParticipantData | None = None
    extensions: list[str] = Field(default=[])
    limits: DataUse = DataUse()
    stake: ParticipantStake = ParticipantStake()
    rewards: ParticipantRewards = ParticipantRewards()
    models: ParticipantModels = ParticipantModels()
    log: CoordinatorLog = CoordinatorLog()


def load_participant(path: Path) -> ParticipantSettings:
    """Read ``participant.toml``; raises ``ConfigError`` naming file and key."""
    return load_settings(ParticipantSettings, path)
