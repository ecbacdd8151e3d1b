"""The one error tree: every error says what happened, what to do, and how the process exits.

The exit codes are part of the public contract, since an Argo `retryStrategy` reads them:

| code | meaning |
|---|---|
| 0 | done |
| 1 | unexpected: a bug |
| 2 | usage or configuration |
| 65 | the data is not acceptable |
| 75 | temporary: worth a retry |
| 130 | interrupted (Ctrl-C) |
| 141 | whoever read the output is gone |
| 143 | terminated (SIGTERM) |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ConfigurationError",
    "DataError",
    "EmptyInputError",
    "MartsChangedError",
    "NoSourceObjectError",
    "ReconciliationError",
    "RejectedShareError",
    "SalesMartError",
    "SourceChangedError",
    "SourceFormatError",
    "SourceNotReadyError",
    "SupersededError",
    "TemporaryError",
    "TestFailedError",
    "UnexpectedError",
]

BY_SEVERITY = (1, 2, 65, 75)
"""Exit codes of errors, the most severe first: what no retry cures before what one may."""


class SalesMartError(Exception):
    """Base of every error that sales_mart raises on purpose.

    Attributes:
        message: What happened and where. Holds no secret and no raw identifier.
        remedy: What the reader can do about it.
        details: The server's own diagnostics (SQLSTATE, job id, …), kept for the log.
        exit_code: The exit status of a process that ends with this error.
        advice: What helps against errors of this class; `remedy` is about this very one.
    """

    exit_code: ClassVar[int] = 1
    advice: ClassVar[str] = "Do what its remedy says."

    def __init__(
        self, message: str, *, remedy: str = "", details: Mapping[str, object] | None = None
    ) -> None:
        """Keep message, remedy and details as attributes; `str()` gives the message."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details: dict[str, object] = dict(details or {})

    def __reduce__(self) -> tuple[object, tuple[object, ...], dict[str, object]]:
        """Survive a trip between processes with remedy and details."""
        return (type(self), (self.message,), self.__dict__)


class UnexpectedError(SalesMartError):
    """Something that the design says cannot happen: a bug."""

    advice = "Run it again with `--log-level debug`, and report what it prints."


class ConfigurationError(SalesMartError):
    """A wrong option, key, value, name or state that only a person can put right."""

    exit_code = 2
    advice = "Do what its remedy says; `sales-mart doctor` looks at everything at once."


class DataError(SalesMartError):
    """The data is not acceptable; a retry would find the same data."""

    exit_code = 65
    advice = "Correct the data; a retry finds the same."


class NoSourceObjectError(DataError):
    """The source names no object at all, which is not the same as an empty file."""

    advice = "Check the path and the date, or wait for the upload."


class SourceChangedError(DataError):
    """An object is not the one that was planned."""

    advice = "Let uploads finish, then start a new run."


class SourceFormatError(DataError):
    """A source is not a CSV file with the columns of a transaction."""

    advice = "Correct the export of the source."


class EmptyInputError(DataError):
    """A source has no header at all, or rows of which the marts would show none."""

    advice = "Correct the source; `--allow-empty` of `plan` and `run` says that it is meant."


class RejectedShareError(DataError):
    """More rows were rejected than `ingestion.validation.max_reject_share` allows."""

    advice = "Look at the reasons; correct the source or raise the share."


class TestFailedError(DataError):
    """A dbt test failed, so the marts of this run are not shown."""

    __test__: ClassVar[bool] = False
    advice = "Run the SQL of the file that it names, to see the rows."


class ReconciliationError(DataError):
    """The warehouses differ from each other or from the sealed input."""

    advice = "Start a new run of the same input, which loads it anew; else report it."


class MartsChangedError(DataError):
    """The published marts are not what was published, or disagree with each other."""

    advice = "Build all marts anew with `--full-refresh`; `sales-mart verify` says what differs."


class SupersededError(DataError):
    """A newer load has replaced the rows of this run."""

    advice = "Let the newer run finish."


class TemporaryError(SalesMartError):
    """A connection, a lock or a quota: the same command may pass later."""

    exit_code = 75
    advice = "Run the same command again."


class SourceNotReadyError(TemporaryError):
    """A delivery is not whole yet, by `data_lake.ready_marker` or `data_lake.minimum_age`."""

    advice = "Wait for the upload, then run the same command again."
