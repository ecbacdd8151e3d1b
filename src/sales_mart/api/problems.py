"""Errors as answers: problem details (RFC 9457), without SQL, places in the code or values."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from sales_mart.control_characters import escape_json

__all__ = ["PROBLEM", "PROBLEM_SCHEMA", "ProblemError", "away", "problem_body"]

PROBLEM = "application/problem+json"
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "string"}},
    },
}


class ProblemError(Exception):
    """An answer that is none.

    Attributes:
        status: The status.
        detail: What is wrong, and what to do about it.
        errors: What is wrong with the single parameters.
        retry_after: Seconds after which the same request may be answered.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: tuple[str, ...] = (),
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Keep what is to be said."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))


def away(retry_after: float) -> ProblemError:
    """Return the answer while the warehouse is away."""
    return ProblemError(
        503, "The warehouse does not answer. Ask again later.", retry_after=retry_after
    )


def problem_body(problem: ProblemError) -> bytes:
    """Return a problem as JSON."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        document["errors"] = list(problem.errors)
    return escape_json(document).encode()
