"""What the process that runs dbt tells its parent about an error: data, as JSON has it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Failure"]


class Failure(NamedTuple):
    """Why a node of dbt, or its whole command, did not run to its end.

    Attributes:
        node: Unique id of the model or test; None for the command.
        kind: Name of the class of `sales_mart.errors` that this is.
        message: The error's text, for people.
        code: SQLSTATE or HTTP status; empty when the error is not a server's.
        reason: Reason that an API gives beside its status.
    """

    node: str | None
    kind: str
    message: str = ""
    code: str = ""
    reason: str = ""
