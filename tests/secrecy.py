"""Looks for secrets in whatever a run has touched, in every form that they may have taken.

Case counts for nothing: what lower-cases a header would hide a secret from a search that it does.
"""

from __future__ import annotations

import base64
import gzip
import json
import traceback
import urllib.parse
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["everything_said", "find_in", "find_in_files", "forms"]


@lru_cache(maxsize=4096)
def forms(secret: str) -> frozenset[bytes]:
    """Return the secret in all its forms, each in lower case as far as it is ASCII."""
    cases = {secret, secret.lower(), secret.upper(), secret.casefold()}
    return frozenset(form.lower() for case in cases for form in _forms(case))


def _forms(secret: str) -> set[bytes]:
    """Return the secret as it is, and as base64, hex, URL-encoded, JSON and UTF-16."""
    raw = secret.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    found |= {secret.encode("utf-16-le"), secret.encode("utf-16-be"), secret.encode("utf-32-le")}
    found |= {urllib.parse.quote(secret, safe="").encode(), repr(secret)[1:-1].encode()}
    found.add(json.dumps(secret)[1:-1].encode())
    found.add("".join(f"\\u{ord(letter):04x}" for letter in secret).encode())
    # Wherever it begins among others: what stays the same of its four letters a three bytes.
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        inner = coded[(0, 2, 3)[before] : len(coded) - len(coded) % 4 - 1]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def find_in(data: bytes | str, secrets: Mapping[str, str], where: str) -> list[str]:
    """Name the secrets that some bytes or a text hold, in whichever case."""
    data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    data = data.lower()
    return [
        f"{name} in {where}"
        for name, secret in secrets.items()
        if any(form in data for form in forms(secret))
    ]


def find_in_files(places: Iterable[Path], secrets: Mapping[str, str]) -> list[str]:
    """Name the secrets that files hold, in their names too; a folder stands for all below it.

    A place that is missing, or places without a single file, would hold no secret ever.
    """
    found: list[str] = []
    read = 0
    for place in places:
        assert place.exists(), f"{place} is missing"
        for path in [place, *place.rglob("*")]:
            found += find_in(str(path), secrets, "a name")
            if not path.is_file() or path.is_symlink():
                continue
            read += 1
            found += find_in(path.read_bytes(), secrets, str(path))
            if path.name.endswith(".json.gz"):
                found += find_in(gzip.decompress(path.read_bytes()), secrets, str(path))
            if path.suffix == ".parquet":
                columns = str(pq.read_table(path).to_pydict())
                found += find_in(columns, secrets, f"the columns of {path}")
    assert read, "no file was read"
    return found


def everything_said(error: BaseException) -> str:
    """Return all that an error and those that it came from say, to people and to programs."""
    texts = ["".join(traceback.format_exception(error)), repr(error), str(vars(error))]
    return "\n".join(texts)
