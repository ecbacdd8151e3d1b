"""Commands as a user gives them: in an empty folder, without settings in the environment."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from sales_mart.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Work in an empty folder, without settings in the environment; leave the logger alone."""
    for name in os.environ:
        if name.startswith(("SALES_MART_", "POSTGRES_", "PII_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("sales_mart")
    before = (logger.handlers, logger.level, logger.propagate)
    yield tmp_path
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command here: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return call
