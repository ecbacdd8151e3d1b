"""What readers see: the whole contents of all marts, and the exported files."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from targets import Target
from warehouses import published_tables, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sales_mart.config import Config

EXPORTS = ("manifest.json", "summary_sales.csv", "summary_sales.json", "summary_sales.parquet")
"""The files whose bytes depend on the published marts alone."""
DESCRIPTIONS = ("contract.odcs.yaml", "openlineage.ndjson", "report.html")
"""The files that tell of the run, its time among other things."""


def marts_query(config: Config, target: str) -> str:
    """Give the query for the rows of all marts as text; one query is one moment."""
    line = "to_json_string(t)" if target == Target.BIGQUERY else "t::text"
    return " union all ".join(
        f"select '{name}' as mart, {line} as line from {table(config, target, place, name)} as t"
        for name, (place, _) in published_tables(config, target).items()
    )


def state(rows: Iterable[Sequence[object]]) -> str:
    """Give what tells rows from others, in whichever order they come."""
    return hashlib.sha256(repr(sorted(map(tuple, rows))).encode()).hexdigest()


def exported_files(folder: Path) -> dict[str, bytes]:
    """Give those of the exported files that are there."""
    found: dict[str, bytes] = {}
    for name in EXPORTS:
        with suppress(FileNotFoundError):
            found[name] = (folder / name).read_bytes()
    return found


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Give the SHA-256 of each file, in hex."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def match_manifest(files: Mapping[str, bytes]) -> bool:
    """Tell whether the files are those that the manifest among them lists."""
    found = digests(files)
    listed = json.loads(files.get("manifest.json", b"{}")).get("files", [])
    return all(found.get(file["name"]) == file["sha256"] for file in listed)
