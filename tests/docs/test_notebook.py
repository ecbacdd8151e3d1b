"""The notebook of the samples runs from its first cell to its last."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from documentation import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((tmp_path / "samples" / "library.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)  # noqa: S102 - our own
    assert names["result"].rows_valid == 3
    total = pl.read_json("summary.json").height, names["summary"]["amount"].sum()
    assert total == (3, Decimal("2499.83"))
