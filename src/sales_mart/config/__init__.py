"""The configuration: the model, and beside it how a file and the environment become one.

The names below are loaded when they are first used: the sections of the warehouses stand in their
folders and need `config.section`, which the model is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sales_mart.config.model import Config, DataMart, Security, Validation

__all__ = ["Config", "DataMart", "Security", "Validation"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from sales_mart.config import model

    return getattr(model, name)
