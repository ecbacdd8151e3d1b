"""The file that contestants read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sales_mart.config import Config
from sales_mart.rows.characters import INVISIBLE
from sales_mart.synthetic.generate import generate

RULES = {"min_price": "10", "max_quantity": 100, "product_prefix": "Halal", "max_decimals": 2}
SHARE = 0.6
"""Share of valid rows, as in all measurements before."""
_COMMAS = 4
_WILD = (b'"', b"\0", b"\xff")
_INVISIBLE = re.compile(INVISIBLE)


def settings() -> dict[str, Any]:
    """Return the configuration of all sections, as keys and values."""
    return {"ingestion": {"trust_input": False, "validation": RULES}}


def make_file(path: Path, rows: int) -> None:
    """Write generated transactions."""
    with path.open("wb") as file:
        file.writelines(generate(rows, valid_share=SHARE, config=Config.model_validate(settings())))


def make_tame_file(path: Path, rows: int, seed: int = 0) -> int:
    """Write generated transactions that any CSV reader can split, and give their number.

    Without quotes, NULs, bad UTF-8 and ragged rows, about 2 % of all: the other contestants stop
    at them, or lose without a word the rows that come after an open quote. Nor with characters that
    nobody sees, which they would take into an identifier.
    """
    written = -1
    with path.open("wb") as file:
        config = Config.model_validate(settings())
        for chunk in generate(rows, valid_share=SHARE, config=config, seed=seed):
            lines = [line for line in chunk.split(b"\n") if _is_tame(line)]
            file.write(b"\n".join([*lines, b""]))
            written += len(lines)
    return written


def _is_tame(line: bytes) -> bool:
    if line.count(b",") != _COMMAS or any(bad in line for bad in _WILD):
        return False
    return line.isascii() or not _INVISIBLE.search(line.decode())
