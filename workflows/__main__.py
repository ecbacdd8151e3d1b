"""Write the manifests into the chart: `python -m workflows`; `--check` fails where they differ."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

import yaml

from workflows.backfill import backfill
from workflows.cron import cron
from workflows.graph import daily

FOLDER = Path(__file__).parents[1] / "charts" / "sales-mart" / "files"
_HEAD = "# Written by `python -m workflows`; a change goes into workflows/.\n"


def manifests() -> dict[str, str]:
    """Give the text of every manifest, by the name of its file."""
    made = {"workflow.yaml": daily(), "backfill.yaml": backfill(), "cron.yaml": cron()}
    return {
        name: _HEAD + yaml.safe_dump(each.to_dict(), sort_keys=False, width=100)
        for name, each in made.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them with what would be written; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workflows", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where files differ")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the files are")
    options = parser.parse_args(arguments)
    wanted = manifests()
    there = {path.name: path.read_text(encoding="utf-8") for path in options.folder.glob("*.yaml")}
    differing = sorted(name for name in wanted | there if wanted.get(name) != there.get(name))
    for name in differing:
        before, after = there.get(name, ""), wanted.get(name, "")
        if options.check:
            lines = difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                f"{name} as it is",
                f"{name} as it should be",
                lineterm="",
            )
            sys.stderr.write("\n".join(lines) + "\n")
        elif after:
            (options.folder / name).write_text(after, encoding="utf-8")
        else:
            (options.folder / name).unlink()
    if options.check and differing:
        sys.stderr.write("The chart is not what workflows/ says: run `python -m workflows`.\n")
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
