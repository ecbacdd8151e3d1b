"""`--local`: the embedded servers behind a command, and a command that just keeps them up."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sales_mart.cli.session import Session, SessionCommand

if TYPE_CHECKING:
    from collections.abc import Generator

    from sales_mart.servers.local import LocalServers

__all__ = ["DataDir", "Local", "add_to", "on_local_servers"]

PANEL = "Tools"

Local = Annotated[
    bool, typer.Option("--local", help="Start PostgreSQL and a BigQuery server on this computer.")
]


def _named(text: str) -> Path:
    if not text:
        msg = "no folder is given"
        raise typer.BadParameter(msg)
    return Path(text)


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        parser=_named,
        metavar="FOLDER",
        help="What --local keeps: databases, lake and export.",
    ),
]
DEFAULT_DATA_DIR = Path(".sales-mart")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("local", cls=SessionCommand, rich_help_panel=PANEL)(_local)


@contextmanager
def on_local_servers(session: Session, data_dir: Path) -> Generator[LocalServers]:
    """Start the servers and point the session's configuration at them."""
    from sales_mart.servers.local import local_servers

    with local_servers(data_dir) as servers:
        session.overrides = {
            "data_lake.lake": str(data_dir.absolute() / "lake"),
            **servers.settings(),
        }
        # Credentials of the environment, a mounted secret or a cluster are meant for another
        # server. These win over them all.
        ours = servers.credentials()
        kept = {name: os.environ.pop(name, None) for name in ours}
        os.environ.update(ours)
        try:
            yield servers
        finally:
            for name, value in kept.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _local(ctx: typer.Context, *, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Keep the local servers up, to look at the marts with psql, until Ctrl-C."""
    session: Session = ctx.obj
    with on_local_servers(session, data_dir) as servers:
        session.emit(servers.addresses(), *servers.ways_in(), "They run until Ctrl-C.")
        # That is how it is ended, and no error.
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
