"""The process of the API: its socket, what it may serve, and its end."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError
from sales_mart.extras import need
from sales_mart.warehouses.base import open_warehouse

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from sales_mart.config import Config
    from sales_mart.warehouses.base import Warehouse

__all__ = ["MODULES", "listening_at", "serve", "server_of"]

MODULES = ("fastapi", "uvicorn", "prometheus_client")
"""What the extra `api` installs."""
_DRAIN_SECONDS = 30


def serve(
    config: Config, target: str, host: str, port: int, announce: Callable[[str], None]
) -> None:
    """Serve the published marts of a warehouse until the process is told to end.

    Requests that are under way then are still answered.

    Args:
        config: The configuration.
        target: The warehouse.
        host: Where to listen.
        port: Likewise; 0 for any that is free.
        announce: Is given the address.

    Raises:
        ConfigurationError: Something is not installed, the address cannot be listened at, or
            others could reach it without a key.
    """
    need("api", *MODULES)
    server = server_of(config, target, host)
    with closing(listening_at(host, port)) as listening:
        shown, bound = listening.getsockname()[:2]
        name = f"[{shown}]" if ":" in shown else shown
        announce(f"http://{name}:{bound}")
        server.run(sockets=[listening])


def server_of(config: Config, target: str, host: str) -> uvicorn.Server:
    """Return the server of a warehouse's marts, which does not listen yet.

    Raises:
        ConfigurationError: Others could reach it without a key, or the keys cannot be read.
    """
    import uvicorn

    from sales_mart.api.app import make_api
    from sales_mart.api.gateway import is_loopback
    from sales_mart.api.keys import Keys

    limits = config.api
    keys = Keys(Path(limits.keys_file).expanduser()) if limits.keys_file is not None else None
    if keys is None and not is_loopback(host):
        msg = f"without keys the marts would be open to whoever reaches {host}"
        raise ConfigurationError(
            msg,
            remedy="Name a file in api.keys_file, and make a key by `sales-mart api-key NAME`; "
            "or serve on 127.0.0.1.",
        )
    return uvicorn.Server(
        uvicorn.Config(
            make_api(_in_time(config, target), limits, keys),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )


def _in_time(config: Config, target: str) -> Warehouse:
    """Open a warehouse whose own limits of time are those of a question, or shorter."""
    warehouse = open_warehouse(config, target)
    section = getattr(config.data_warehouse, target)
    shorter = {
        key: min(getattr(section, key), config.api.query_seconds) for key in warehouse.timeouts
    }
    changed = config.data_warehouse.model_copy(update={target: section.model_copy(update=shorter)})
    return open_warehouse(config.model_copy(update={"data_warehouse": changed}), target)


def listening_at(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Raises:
        ConfigurationError: That is not possible.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, number)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        msg = f"{host}:{port} cannot be listened at: {error.strerror or error}"
        raise ConfigurationError(msg, remedy="Name another --host or --port.") from error
    return listening
