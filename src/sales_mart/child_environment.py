"""The environment of child processes: ours without our secrets."""

from __future__ import annotations

import os

__all__ = ["without_secrets"]

_SECRETS = ("PII_HASH_KEY", "POSTGRES_USER", "POSTGRES_PASSWORD", "PGPASSWORD")


def without_secrets() -> dict[str, str]:
    """Return our environment without keys and credentials.

    Our own settings stay out too, since any of them may hold a password: a child is told what it
    needs. What another user's process is given, that user can read.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _SECRETS and not name.upper().startswith("SALES_MART_")
    }
