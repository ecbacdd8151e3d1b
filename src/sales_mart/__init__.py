"""Raw sales transactions into the same trusted sales mart in PostgreSQL and BigQuery.

The names below are loaded when they are first used, so that `import sales_mart` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.config.file import load_config
    from sales_mart.errors import (
        ConfigurationError,
        DataError,
        SalesMartError,
        TemporaryError,
        UnexpectedError,
    )
    from sales_mart.rows.frames import ValidationResult, validate_frame
    from sales_mart.rows.transaction import Transaction

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "ConfigurationError": "errors",
    "DataError": "errors",
    "SalesMartError": "errors",
    "TemporaryError": "errors",
    "Transaction": "rows.transaction",
    "UnexpectedError": "errors",
    "ValidationResult": "rows.frames",
    "load_config": "config.file",
    "validate_frame": "rows.frames",
}

__all__ = [
    "Config",
    "ConfigurationError",
    "DataError",
    "SalesMartError",
    "TemporaryError",
    "Transaction",
    "UnexpectedError",
    "ValidationResult",
    "__version__",
    "load_config",
    "validate_frame",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
