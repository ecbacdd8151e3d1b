"""Every warehouse that is installed, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.subject import Subject
from sales_mart.warehouses.base import names

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config


@pytest.fixture(params=names())
def subject(request: pytest.FixtureRequest, config: Config, lake: Path) -> Subject:
    """Return a warehouse with schemas of its own."""
    return Subject(request.param, config, lake)
