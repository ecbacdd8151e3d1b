"""Raw sales transactions into the same trusted sales mart in PostgreSQL and BigQuery.

The names below are loaded when they are first used, so that `import sales_mart` stays quick.
"""

from __future__ import annotations

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.config.file import load_config
    from sales_mart.errors import (
        ConfigurationError,
        DataError,
        SalesMartError,
        TemporaryError,
        UnexpectedError,
    )
    from sales_mart.facade.files import ExportResult, export
    from sales_mart.facade.pipeline import local, quarantine, read_mart, run
    from sales_mart.facade.tables import LoadResult, load, read
    from sales_mart.facade.tokens import pseudonymise
    from sales_mart.facade.validation import Validation, validate
    from sales_mart.rows.frames import ValidationResult, validate_frame
    from sales_mart.rows.tokens import Tokeniser
    from sales_mart.rows.transaction import Transaction
    from sales_mart.steps.status import RunSummary

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "ConfigurationError": "errors",
    "DataError": "errors",
    "ExportResult": "facade.files",
    "LoadResult": "facade.tables",
    "RunSummary": "steps.status",
    "SalesMartError": "errors",
    "TemporaryError": "errors",
    "Tokeniser": "rows.tokens",
    "Transaction": "rows.transaction",
    "UnexpectedError": "errors",
    "Validation": "facade.validation",
    "ValidationResult": "rows.frames",
    "export": "facade.files",
    "load": "facade.tables",
    "load_config": "config.file",
    "local": "facade.pipeline",
    "pseudonymise": "facade.tokens",
    "quarantine": "facade.pipeline",
    "read": "facade.tables",
    "read_mart": "facade.pipeline",
    "run": "facade.pipeline",
    "validate": "facade.validation",
    "validate_frame": "rows.frames",
}

__all__ = [
    "Config",
    "ConfigurationError",
    "DataError",
    "ExportResult",
    "LoadResult",
    "RunSummary",
    "SalesMartError",
    "TemporaryError",
    "Tokeniser",
    "Transaction",
    "UnexpectedError",
    "Validation",
    "ValidationResult",
    "__version__",
    "export",
    "load",
    "load_config",
    "local",
    "pseudonymise",
    "quarantine",
    "read",
    "read_mart",
    "run",
    "validate",
    "validate_frame",
]


def __getattr__(name: str) -> _typing.Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(_importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names only."""
    return sorted(__all__)
