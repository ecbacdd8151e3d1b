"""dbt's own account of a build, for tools that read it: `manifest.json` and `run_results.json`."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ARTIFACTS", "artifacts"]

ARTIFACTS = ("manifest.json", "run_results.json")
_ARGUMENTS = ("which", "vars")
"""What is kept of dbt's arguments: the others are paths and ids."""
_LEVEL = 3


def artifacts(target: Path, *folders: Path) -> dict[str, bytes]:
    """Return the artefacts of a build, compressed, by name.

    They tell nothing of the computer: no folder, no variable of its environment, no id of a user.

    Args:
        target: Where dbt has written them.
        folders: What their paths begin with.
    """
    found: dict[str, bytes] = {}
    for name in ARTIFACTS:
        document: dict[str, Any] = json.loads((target / name).read_bytes())
        document["metadata"] |= {"env": {}, "user_id": None}
        if "args" in document:
            said: dict[str, Any] = document["args"]
            document["args"] = {key: said[key] for key in _ARGUMENTS if key in said}
        text = json.dumps(document, separators=(",", ":"))
        for folder in sorted(folders, key=lambda each: -len(str(each))):
            text = text.replace(json.dumps(str(folder))[1:-1] + "/", "")
            text = text.replace(json.dumps(str(folder))[1:-1], ".")
        found[f"{name}.gz"] = gzip.compress(text.encode(), _LEVEL, mtime=0)
    return found
