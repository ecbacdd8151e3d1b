"""The workflow as files: what stands in them, and how they are written or compared."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import yaml

from sales_mart.lake.disk import disk_errors
from sales_mart.lake.storage import Folder
from sales_mart.workflows.graph import daily
from sales_mart.workflows.many_days import backfill
from sales_mart.workflows.schedule import cron

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["differences", "manifests", "write"]

_HEAD = "# Written by `python -m sales_mart.workflows`; a change goes into that module.\n"


def manifests() -> dict[str, str]:
    """Return the text of every manifest, by the name of its file."""
    made = {"workflow.yaml": daily(), "backfill.yaml": backfill(), "cron.yaml": cron()}
    return {
        name: _HEAD + yaml.safe_dump(each.to_dict(), sort_keys=False, width=100)
        for name, each in made.items()
    }


def write(folder: Path) -> None:
    """Write what differs into a folder, and delete what was written there and is no more.

    Raises:
        ConfigurationError: The folder is not writable.
    """
    there, wanted = _written(folder), manifests()
    place = Folder(folder)
    for name, text in wanted.items():
        if there.get(name) != text:
            place.write(name, text.encode())
    for name in there.keys() - wanted.keys():
        place.delete(name)


def differences(folder: Path) -> str:
    """Say how the files in a folder differ from what would be written; nothing when they don't."""
    there, wanted = _written(folder), manifests()
    lines = [
        line
        for name in sorted(there | wanted)
        for line in difflib.unified_diff(
            there.get(name, "").splitlines(),
            wanted.get(name, "").splitlines(),
            f"{name} as it is",
            f"{name} as it should be",
            lineterm="",
        )
    ]
    return "\n".join(lines)


def _written(folder: Path) -> dict[str, str]:
    """Read the manifests in a folder; files of somebody else's are left alone."""
    with disk_errors(folder, "read"):
        texts = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
    return {name: text for name, text in texts.items() if text.startswith(_HEAD)}
