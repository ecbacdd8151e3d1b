"""The read API: `serve`, and the keys of its clients."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sales_mart.cli.local import DEFAULT_DATA_DIR, DataDir, Local, on_local_servers
from sales_mart.cli.session import Session, SessionCommand
from sales_mart.errors import ConfigurationError

__all__ = ["add_to"]

PANEL = "Tools"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("serve", cls=SessionCommand, rich_help_panel=PANEL)(_serve)
    app.command("api-key", cls=SessionCommand, rich_help_panel=PANEL)(_api_key)


def _serve(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    *,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; other hosts need keys.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Likewise; 0 for any that is free.")
    ] = 8000,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="NAME", help="Warehouse to read. Default: the first."),
    ] = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Serve the published marts over HTTP, until Ctrl-C or SIGTERM."""
    from sales_mart.api.server import MODULES, serve
    from sales_mart.extras import need

    session: Session = ctx.obj
    need("api", *MODULES)
    with on_local_servers(session, data_dir) if local else nullcontext():
        chosen = session.targets([target] if target else None)[0]

        def announce(address: str) -> None:
            text = f"Serving the marts of {chosen} at {address}\nIt runs until Ctrl-C."
            session.emit({"address": address, "target": chosen}, text)

        try:
            serve(session.config, chosen, host, port, announce)
        except KeyboardInterrupt:
            return  # that is how it is ended


def _api_key(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the key, for the log.")],
) -> None:
    """Make a key for a client of the API: it is shown once, and kept as a hash.

    The hash goes into the file that api.keys_file names.
    """
    from sales_mart.api.keys import add_key

    session: Session = ctx.obj
    file = session.config.api.keys_file
    if file is None:
        msg = "no file is named to keep the hash of the key in"
        raise ConfigurationError(msg, remedy="Set api.keys_file, or SALES_MART_API__KEYS_FILE.")
    key = add_key(Path(file).expanduser(), name)
    session.emit({"name": name, "key": key}, key)
