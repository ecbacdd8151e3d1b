"""One process for all tests that has dbt and has parsed its project; it forks what forks workers.

Hundreds of tests build marts, many of them by commands of their own. What dbt imports, makes in its
first command, and caches for tests of its own (macros as trees, templates as code) is there for all
of them then. `forward.py` starts it and hands it the sockets that orders come by.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner
from dbt_common.clients.jinja import template_cache
from dbt_common.tests import enable_test_caching

from sales_mart.config import Config
from sales_mart.dbt_runner import worker
from sales_mart.dbt_runner.process import environment, variables
from sales_mart.dbt_runner.project import project_folder
from sales_mart.warehouses.base import names, warehouse_class

_PAUSE = 2.0


def parse(target: str, folder: str) -> None:
    """Parse the project for a warehouse that is not asked."""
    config, project = Config(), str(project_folder())
    os.environ.update(environment(config, target, offline=True))
    warehouse_class(target).prepare_dbt()
    adapter = importlib.import_module(f"dbt.adapters.{target}")
    adapter.Plugin.credentials.json_schema()
    arguments = [
        *("parse", "--project-dir", project, "--profiles-dir", project, "--target", target),
        *("--target-path", folder, "--log-path", folder, "--quiet"),
        *("--no-partial-parse", "--no-version-check"),
        *("--vars", json.dumps(variables(config, target))),
    ]
    manifest: Any = dbtRunner().invoke(arguments).result
    if manifest is not None:
        manifest.writable_manifest().to_dict()
        for macro in manifest.macros.values():
            template_cache.get_node_template(macro)


def main() -> int:
    """Parse for every warehouse, then fork a process for each socket that comes.

    The first argument is the path of the socket to listen at, the second the number of the process
    that runs the tests: this one ends soon after it.
    """
    enable_test_caching()
    known = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        for target in names():
            parse(target, folder)
    os.environ.clear()
    os.environ.update(known)
    resource_tracker.ensure_running()
    path, tests = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        unnamed = path.with_suffix(".new")
        listener.bind(str(unnamed))
        listener.listen(128)
        listener.settimeout(_PAUSE)
        unnamed.rename(path)  # whoever finds it is answered
        while path.exists() and Path("/proc", str(tests)).exists():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                if os.fork() == 0:
                    listener.close()
                    return serve(connection)
                connection.close()
    return 0


def serve(connection: socket.socket) -> int:
    """Be the process that forks workers; who has started it waits for the end of a connection."""
    connection.setblocking(True)
    _, (orders,), _, _ = socket.recv_fds(connection, 1, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.argv = ["worker", str(orders), "forks"]
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
