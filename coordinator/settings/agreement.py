"""``federation.json``: what everybody of a federation agreed on before training.

Public, and the same bytes for everybody: its digest is bound on chain when the contract is
deployed, so nobody can be given another one. Where the coordinator is reached is no part of it.
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
from coordinator.protocol.scores.architecture import Architecture
from coordinator.protocol.types import Address, Rule, SigningDomain
from coordinator.settings.base import AddressText, Name, Section
from coordinator.settings.evaluation import Evaluation
from coordinator.settings.learning import Features, Training
from coordinator.settings.load import validated

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in lower-case hexadecimal."""


class FederationAgreement(Section):
    """The agreement; ``manifest``, ``rule`` and ``scoring`` are documents of the core.

    ``architecture`` is the core's description of the built-in model, or ``None`` where
    participants bring an application of their own. ``access`` says who may read updates.
    ``evaluation`` is ``None`` where the model is not evaluated between rounds.
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
    training: Training = Training()
    features: Features = Features()
    evaluation: Evaluation | None = None
    sealed: bool = False
    access: Literal["public", "members"] = "public"
    round_duration_s: int = Field(ge=1)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an evaluation that is not agreed: older agreements keep their digest.

        The digest is bound on chain (ADR 0166).
        """
        fields: dict[str, Any] = handler(self)
        if self.evaluation is None:
            fields.pop("evaluation", None)
        return fields

    def canonical_json(self) -> bytes:
        """Return the only bytes this agreement has."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> bytes:
        """SHA-256 of all that is agreed, 32 bytes: the contract's ``config_digest``.

        Without chain and contract, which are known only once it is deployed.
        """
        fields = self.model_dump(mode="json", exclude={"chain_id", "contract"})
        return hashlib.sha256(canonical_json(fields)).digest()

    @property
    def domain(self) -> SigningDomain:
        """The EIP-712 domain all its signatures are for."""
        return SigningDomain(self.chain_id, Address(self.contract))

    @cached_property
    def core_manifest(self) -> Manifest:
        """The manifest as the core reads it."""
        return Manifest.from_json(canonical_json(self.manifest))

    @cached_property
    def core_rule(self) -> Rule:
        """The aggregation rule as the core reads it."""
        return rule_from(dict(self.rule))

    @property
    def rule_hash(self) -> bytes:
        """What every round of the federation is opened under, 32 bytes."""
        return rule_hash(self.core_rule)

    @cached_property
    def core_architecture(self) -> Architecture | None:
        """The built-in model, if there is one."""
        if self.architecture is None:
            return None
        return Architecture.from_json(canonical_json(self.architecture).decode())


def read_agreement(path: Path) -> FederationAgreement:
    """Read ``federation.json`` and everything in it.

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
