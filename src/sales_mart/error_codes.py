"""What a server's error code stands for: worth a retry, a matter of configuration, or a bug.

The one place that says so, for our own connections, for those of dbt and for the storage.
"""

from __future__ import annotations

from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError, UnexpectedError

__all__ = [
    "CONFIGURATION_STATES",
    "CONFIGURATION_STATUSES",
    "LIMITED",
    "LOCKED",
    "READ_ONLY",
    "TEMPORARY_REASONS",
    "TEMPORARY_STATES",
    "TEMPORARY_STATUSES",
    "kind_of_http",
    "kind_of_sqlstate",
    "quotes_values",
    "refuses",
]

LIMITED = "53400"
"""SQLSTATE of a limit that an administrator has set; the same statement meets it again."""
LOCKED = "55P03"
"""SQLSTATE of a lock that another session held for too long."""
READ_ONLY = "25006"
"""SQLSTATE of a server or a user that may not change anything."""

TEMPORARY_STATES = {
    "08": "the connection broke",
    "40": "a conflict with another transaction",
    "53": "no connection, no memory or no disk left",
    "57": "the server stops, or ended the statement, such as for `statement_timeout`",
    "58": "the server's own system failed it",
    LOCKED: "another session held a lock for longer than `lock_timeout`",
    "25P03": "the session waited too long inside of a transaction",
    "25P04": "the transaction took too long",
}
"""SQLSTATEs, by class or whole, that a retry can cure, and what they say."""
CONFIGURATION_STATES = {
    "28": "user or password refused",
    "3D": "no such database",
    "3F": "no such schema",
    "42501": "a right is missing",
    "42939": "a name that the server keeps for itself",
    LIMITED: "a limit of the server's settings, such as `temp_file_limit`",
    "57P04": "the database was dropped",
    READ_ONLY: "the server, or the user, may only read",
}
"""SQLSTATEs, by class or whole, that only a person can put right, and what they say."""
# These classes quote the value that they choke on in the message itself, not only in the detail.
_QUOTING_STATES = ("22", "P0")
# libpq gives no SQLSTATE when a connection fails, so the text has to tell a refusal from a
# server that is away. A translated text falls through to "temporary": retried, then reported.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "not permitted to log in",
    "not currently accepting connections",
    "permission denied for database",
    "certificate",
    "does not support SSL",
)
TEMPORARY_REASONS = frozenset(
    {
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "stopped",
        "timeout",
        "userRateLimitExceeded",
    }
)
TEMPORARY_STATUSES = (408, 429)
CONFIGURATION_STATUSES = (401, 403, 404)
_SERVER_ERRORS = 500

Kind = type[SalesMartError]


def kind_of_sqlstate(state: str) -> Kind:
    """Return the kind of error that a PostgreSQL error code is."""
    if state.startswith(tuple(CONFIGURATION_STATES)):
        return ConfigurationError
    return TemporaryError if state.startswith(tuple(TEMPORARY_STATES)) else UnexpectedError


def quotes_values(state: str) -> bool:
    """Return whether the messages of a PostgreSQL error code may quote values of rows."""
    return state.startswith(_QUOTING_STATES)


def refuses(text: str) -> bool:
    """Return whether libpq's text about a failed connection says that the server refused us."""
    return any(refusal in text for refusal in _REFUSALS)


def kind_of_http(status: int, reason: str) -> Kind:
    """Return the kind of error that an answer of a Google API is, by its status and its reason."""
    if status >= _SERVER_ERRORS or status in TEMPORARY_STATUSES or reason in TEMPORARY_REASONS:
        return TemporaryError
    refused = status in CONFIGURATION_STATUSES or reason == "bytesBilledLimitExceeded"
    return ConfigurationError if refused else UnexpectedError
