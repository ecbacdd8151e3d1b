"""Step `validate` when it is left half-way."""

from __future__ import annotations

import threading
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from sales_mart.config import Config
from sales_mart.lake.runs import RunFolder
from sales_mart.steps import validate
from sales_mart.steps.plan import plan
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from pathlib import Path


class InterruptedEvent(threading.Event):
    """Ctrl-C comes at the very moment at which the reader is told to end."""

    def set(self) -> None:
        super().set()
        raise KeyboardInterrupt


def test_an_interrupt_while_the_reader_is_told_to_end_is_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.csv"
    lines = [f"T{number},Halal Mouse,20.00,1,2023-10-01" for number in range(2_000)]
    source.write_text("\n".join(["transaction_id,product,price,quantity,date", *lines, ""]))
    lake = str(tmp_path / "lake")
    made = plan(Config(), lake, business_date=date(2023, 10, 1), source=str(source))
    run = RunFolder(lake, made.run_id)

    def fail(_: object) -> None:
        raise OSError

    of_threads = SimpleNamespace(Event=InterruptedEvent, Thread=threading.Thread)
    monkeypatch.setattr(validate, "threading", of_threads)
    monkeypatch.setattr(validate, "count_reasons", fail)
    with pytest.raises(KeyboardInterrupt):
        validate_shard(Config(), run, 0, block_bytes=1_000)


def test_what_the_reader_and_the_rules_warn_of_stands_in_the_record(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    rows = (
        "T1,Mouse\u200b,20.00,1,2023-10-01,",
        "T2,Mouse,20.00,1,2023-10-01,",
        "T3,\u0646\u0645\u06cc\u200c\u062e,20.00,1,2023-10-01,",
        'T4,"Mouse,20.00,1,2023-10-01,',
        'T5,Mouse",20.00,1,2023-10-01,',
    )
    source.write_text("\n".join(["transaction_id,product,price,quantity,date,", *rows, ""]))
    lake = str(tmp_path / "lake")
    config = Config.model_validate({"security": {"algorithm": "sha256"}})
    made = plan(config, lake, business_date=date(2023, 10, 1), source=str(source))
    record = validate_shard(config, RunFolder(lake, made.run_id), 0)
    assert (record.rows_valid, record.reasons) == (3, {"malformed_row": 2})
    quotes, products = record.warnings
    assert quotes.endswith("of these lines are rejected as malformed_row: 5-6")
    assert "1 valid rows have an invisible character in their product" in products
