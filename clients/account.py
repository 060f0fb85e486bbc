"""A contributor's key; the same files as the coordinator's (``coordinator.local.keyfile``)."""

from coordinator.local.keyfile import (
    MAX_KEY_FILE_BYTES,
    MAX_SCRYPT_BYTES,
    PASSWORD_VARIABLE,
    address_of,
    create,
    load,
    password_from,
    scrub_password,
)

__all__ = [
    "MAX_KEY_FILE_BYTES",
    "MAX_SCRYPT_BYTES",
    "PASSWORD_VARIABLE",
    "address_of",
    "create",
    "load",
    "password_from",
    "scrub_password",
]
