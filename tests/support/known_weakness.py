"""Marks a test of an attack that still succeeds (ADR 145).

The test carries out the attack and asserts that the attacker fails. Only that assertion may fail;
any other exception is an error. A change that removes the weakness makes the test pass, which a
strict expected failure reports, and the mark is removed.
"""

import pytest


class AttackSucceedsError(Exception):
    """The attack succeeded."""


def known_weakness(reason: str) -> pytest.MarkDecorator:
    """Mark a test whose :func:`attacker_fails` does not hold today."""
    return pytest.mark.xfail(strict=True, raises=AttackSucceedsError, reason=reason)


def attacker_fails(holds: bool, otherwise: str) -> None:
    """Assert that the attacker fails.

    Raises
    ------
    AttackSucceedsError
        If it does not; ``otherwise`` describes what it gained.
    """
    if not holds:
        raise AttackSucceedsError(otherwise)
