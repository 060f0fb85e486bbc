"""Signers of a contributor's statements. The key may be elsewhere: only signing is required."""

from typing import Protocol

from coordinator.protocol.signatures.eip712 import address_of_key, sign_statement
from coordinator.protocol.types import Address, Signed, SigningDomain, Statement, UpdateMessage


class UpdateSigner(Protocol):
    """Signs updates and smaller statements for one address."""

    @property
    def address(self) -> Address:
        """The contributor's address."""

    def sign(self, domain: SigningDomain, message: UpdateMessage) -> Signed[UpdateMessage]:
        """Return the signed update."""

    def sign_statement(self, domain: SigningDomain, statement: Statement) -> Signed[Statement]:
        """Return the signed presence, commitment or read request."""


class KeySigner:
    """Signs with a private key held in memory."""

    def __init__(self, private_key: bytes) -> None:
        self._private_key = private_key
        self._address = address_of_key(private_key)

    @property
    def address(self) -> Address:
        """The address of the key."""
        return self._address

    def sign(self, domain: SigningDomain, message: UpdateMessage) -> Signed[UpdateMessage]:
        """Sign (EIP-712, deterministic)."""
        return sign_statement(domain, message, self._private_key)

    def sign_statement(self, domain: SigningDomain, statement: Statement) -> Signed[Statement]:
        """Sign (EIP-712, deterministic)."""
        return sign_statement(domain, statement, self._private_key)

    def __repr__(self) -> str:
        return f"KeySigner({self._address})"
