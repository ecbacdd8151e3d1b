"""What an installation may leave out, and the command that installs it."""

from __future__ import annotations

import importlib.util

from sales_mart.errors import ConfigurationError

__all__ = ["need"]


def need(extra: str, *modules: str) -> None:
    """Check that the modules that an extra installs are there.

    Raises:
        ConfigurationError: One is not; the remedy is the command that installs it.
    """
    for module in modules:
        if not _is_installed(module):
            msg = f"the Python module {module} is not installed"
            raise ConfigurationError(msg, remedy=f'Run `pip install "sales-mart[{extra}]"`.')


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
