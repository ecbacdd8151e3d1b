"""Small files and a product for each row; thousands of them are in `tests/chaos/size.py`."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from sales_mart.lake.runs import RunFolder
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard
from targets import Target
from warehouses import POSTGRES, ask, loaded, raw_table

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

FILES, ROWS = 200, 5


def test_many_small_files_share_parts_whose_rows_keep_their_file(
    config: Config, lake: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    header = "transaction_id,product,price,quantity,date\n"
    for file in range(FILES):
        rows = (f"{file}-{row},product {file}/{row},20.00,1,2023-10-01\n" for row in range(ROWS))
        (folder / f"{file:04}.csv").write_text(header + "".join(rows))
    made = plan(config, str(lake), source=str(folder), business_date=date(2023, 10, 1), shards=3)
    assert (len(made.objects), len(made.shards)) == (FILES, 3)
    run = RunFolder(str(lake), made.run_id)
    for shard in range(3):
        record = validate_shard(config, run, shard)
        # Small files share a part: thousands of them would cost a load job each.
        assert len(record.valid) == 1
    closed = seal(config, run)
    assert (closed.rows_read, closed.rows_valid, len(closed.valid)) == (
        FILES * ROWS,
        FILES * ROWS,
        3,
    )
    loaded(config, run, POSTGRES)
    counted = "count(*), count(distinct product), count(distinct source_file), max(source_row)"
    found = ask(
        config, Target.POSTGRES, f"select {counted} from {raw_table(config, Target.POSTGRES)}"
    )
    assert found == [(FILES * ROWS, FILES * ROWS, FILES, ROWS)]
