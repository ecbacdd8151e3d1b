"""Write the manifests of the workflow: workflow.yaml, backfill.yaml and cron.yaml."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sales_mart.cli.process import run_in_process
from sales_mart.extras import need

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them with what would be written; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sales_mart.workflows", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where files differ")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("manifests"), help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    return run_in_process(lambda: _write(options.folder, check=options.check), as_json=False)


def _write(folder: Path, *, check: bool) -> int:
    need("workflows", "hera.workflows")
    from sales_mart.workflows.files import differences, write

    if not check:
        write(folder)
        return 0
    found = differences(folder)
    if found:
        sys.stderr.write(f"{found}\n{folder} is not what is written now: write it anew.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
