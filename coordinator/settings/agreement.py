"""``federation.json``: the agreement of a federation, made before training.

It is public, and the same bytes for every participant: its digest is bound on chain when the
contract is deployed, so a participant notices a different one (ADR 91). The coordinator's URL is
not part of it.
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.documents import rule_from
from coordinator.protocol.errors import ConfigError, VerificationError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.scores.architecture import Architecture, ModuleShape
from coordinator.protocol.types import Address, Rule, SigningDomain
from coordinator.settings.app_config import AppConfig
from coordinator.settings.base import AddressText, Name, Section
from coordinator.settings.evaluation import Evaluation
from coordinator.settings.learning import Features, Training
from coordinator.settings.load import validated

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in lower-case hexadecimal."""


class AgreedBuffer(Section):
    """An integer buffer of a module: it travels beside the vector, and is not averaged.

    ``position`` is its place among the module's shared tensors; ``values`` are flat, row by row.
    """

    name: str
    position: int = Field(ge=0)
    dtype: str = Field(pattern=r"^(bool|u?int(8|16|32|64))$")
    shape: list[Annotated[int, Field(ge=0)]]
    values: list[int]


class AgreedModule(Section):
    """A torch module of one's own: what is agreed on besides the manifest.

    ``section`` is the ``[model]`` table that the founder proposes to participants, empty where
    there are values only; no daemon runs what it names unless its own settings name it too.
    ``structure`` is the digest of the module's parts and of its frozen values
    (:meth:`coordinator.models.shared.SharedModel.structure`), empty where the manifest alone is
    agreed on.
    """

    section: dict[str, JsonValue]
    input_shape: list[Annotated[int, Field(ge=1)]]
    classes: int = Field(ge=2)
    structure: Digest | Literal[""] = ""
    buffers: list[AgreedBuffer] = Field(default=[])

    @property
    def shape(self) -> ModuleShape:
        """What examples have to fit."""
        return ModuleShape(tuple(self.input_shape), (self.classes,))


class FederationAgreement(Section):
    """The agreement; ``manifest``, ``rule`` and ``scoring`` are documents of the core.

    ``architecture`` is the core's description of a model of layers, ``model`` what is agreed on
    about a module of one's own; both are ``None`` where participants bring an application of their
    own. ``access`` says who may read updates. ``config`` is what every participant's application is
    told. ``evaluation`` is ``None`` where the model is not evaluated between rounds.
    """

    format: Literal["fedproof-federation-1"] = "fedproof-federation-1"
    name: Name
    chain_id: int = Field(ge=1, lt=2**53)
    contract: AddressText
    initial_model_root: Digest
    manifest: dict[str, JsonValue]
    rule: dict[str, JsonValue]
    scoring: dict[str, JsonValue]
    architecture: dict[str, JsonValue] | None = None
    model: AgreedModule | None = None
    training: Training = Training()
    features: Features = Features()
    evaluation: Evaluation | None = None
    config: AppConfig = Field(default={})
    sealed: bool = False
    access: Literal["public", "members"] = "public"
    round_duration_s: int = Field(ge=1)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not agreed: agreements from before it keep their digest.

        The digest is bound on chain (ADR 0160, 0163, 0166).
        """
        fields: dict[str, Any] = handler(self)
        for name in ("model", "evaluation", "config"):
            if not getattr(self, name):
                fields.pop(name, None)
        return fields

    def canonical_json(self) -> bytes:
        """Return the agreement as canonical JSON, the bytes of ``federation.json``."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> bytes:
        """SHA-256 of the agreement, 32 bytes: the contract's ``config_digest``.

        Without chain id and contract address, which are known only once it is deployed.
        """
        fields = self.model_dump(mode="json", exclude={"chain_id", "contract"})
        return hashlib.sha256(canonical_json(fields)).digest()

    @property
    def domain(self) -> SigningDomain:
        """The EIP-712 domain of all its signatures."""
        return SigningDomain(self.chain_id, Address(self.contract))

    @cached_property
    def core_manifest(self) -> Manifest:
        """The manifest as a record of the core."""
        return Manifest.from_json(canonical_json(self.manifest))

    @cached_property
    def core_rule(self) -> Rule:
        """The aggregation rule as a record of the core."""
        return rule_from(dict(self.rule))

    @property
    def rule_hash(self) -> bytes:
        """The rule's hash, 32 bytes, with which every round of the federation is opened."""
        return rule_hash(self.core_rule)

    @cached_property
    def core_architecture(self) -> Architecture | None:
        """The built-in model, ``None`` if there is none."""
        if self.architecture is None:
            return None
        return Architecture.from_json(canonical_json(self.architecture).decode())


def read_agreement(path: Path) -> FederationAgreement:
    """Read ``federation.json`` and check all its parts.

    Raises
    ------
    ConfigError
        Naming the file, what was found and what was expected.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return agreement_from(data, str(path))


def agreement_from(data: bytes, source: str) -> FederationAgreement:
    """Read the bytes of an agreement; ``source`` is named in errors.

    Raises
    ------
    ConfigError
        As :func:`read_agreement`.
    """
    try:
        raw = parse_json(data, source)
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected a JSON object, found {type(raw).__name__}")
    agreement = validated(FederationAgreement, raw, source)
    for part in ("core_manifest", "core_rule", "core_architecture"):
        _check_part(agreement, part, source)
    return agreement


def _check_part(agreement: FederationAgreement, part: str, source: str) -> None:
    try:
        _ = getattr(agreement, part)
    except (VerificationError, KeyError, TypeError, ValueError) as error:
        name = part.removeprefix("core_")
        raise ConfigError(f"{source}: {name}: {_reason(error)}") from error


def _reason(error: Any) -> str:
    return f"{error}" if isinstance(error, VerificationError) else f"malformed ({error!r})"
