"""A run's records have the columns that its audit expects."""

import dataclasses

from coordinator.audit.verify.record_audit import MEASURED, ROUND_COLUMNS
from simulations.report.records import RoundRecord


def test_a_round_has_the_columns_that_the_audit_compares() -> None:
    names = tuple(field.name for field in dataclasses.fields(RoundRecord))
    assert names == (*ROUND_COLUMNS, MEASURED)
