"""Typed files an operator writes, and what a federation agrees on; pydantic stops here."""
