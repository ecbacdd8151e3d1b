"""What readers see: the whole contents of all marts, and the exported files."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from sales_mart.names import published_tables
from sales_mart.reconcile_sql import table
from sales_mart.records import Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sales_mart.config import Config

EXPORTS = ("manifest.json", "summary_sales.csv", "summary_sales.json", "summary_sales.parquet")


def marts_query(config: Config, target: Target) -> str:
    """Give the query for a digest of each mart's rows; one query is one moment."""
    if target is Target.POSTGRES:
        line = 't::text collate "C"'
        rows = f"md5(string_agg({line}, '' order by {line}))"
    else:
        line = "to_json_string(t)"
        rows = f"to_hex(md5(string_agg({line}, '' order by {line})))"
    marts = (
        f"select '{name}' as mart, {rows} as digest from {table(config, target, place, name)} as t"
        for name, (place, _) in published_tables(config, target).items()
    )
    return f"{' union all '.join(marts)} order by mart"


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


def is_vouched(files: Mapping[str, bytes]) -> bool:
    """Tell whether the files are those that the manifest among them lists."""
    found = digests(files)
    listed = json.loads(files.get("manifest.json", b"{}")).get("files", [])
    return all(found.get(file["name"]) == file["sha256"] for file in listed)
