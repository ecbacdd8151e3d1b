"""How Hypothesis runs here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# The first example of a test compiles regular expressions and starts thread pools, so single
# examples have no deadline; `explain` traces every line and takes minutes on a failure.
settings.register_profile(
    "sales_mart",
    deadline=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sales_mart")


@pytest.fixture(scope="module", autouse=True)
def no_flush() -> Generator[None]:
    """Write thousands of small files without waiting for the disk; other tests see that we do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # pyright: ignore[reportUnknownLambdaType]
        yield
