# ruff: noqa: INP001 - a script, no package
"""Run uv with the package index, folders and certificate that pip is told of.

    python scripts/run_uv.py pip install ...

uv reads neither pip's files nor its variables. What uv's own variables say comes first.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""Setting of pip -> variable of uv."""


def settings(listed: str) -> dict[str, str]:
    """Return the variables of uv for what `pip config list` prints."""
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        variable = _VARIABLES.get(key.rpartition(".")[2])
        if variable:
            # Later lines go before earlier ones; several values stand on lines of their own.
            separator = "," if variable == "UV_FIND_LINKS" else " "
            found[variable] = separator.join(str(ast.literal_eval(value)).split())
    return found


def main() -> None:
    """Become uv."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    environment = {**settings(listed), "VIRTUAL_ENV": sys.prefix, **os.environ}
    program = Path(sys.prefix) / "bin" / "uv"
    os.execve(program, [str(program), *sys.argv[1:]], environment)  # noqa: S606 - uv of this folder


if __name__ == "__main__":
    main()
