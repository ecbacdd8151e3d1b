"""Two days of `sales-mart run` of version 0.1, as it left them: a warehouse and a lake.

`tests/version_0_1/warehouse.sql` is what `pg_dump` wrote of its schemas, `lake.json` the files of
its lake, Parquet parts as base64.
"""

from __future__ import annotations

import base64
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.config import Config
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.load import load
from sales_mart.steps.pipeline import run
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.status import summarise
from sales_mart.steps.transform import transform
from sales_mart.steps.verify import verify
from sales_mart.warehouses.postgres.connection import connect
from support import token
from warehouses import POSTGRES, ask

if TYPE_CHECKING:
    from sales_mart.servers.local import LocalServers

FILES = Path(__file__).parents[1] / "version_0_1"
RUNS = ("2023-10-01-87fa087ffbb5", "2023-10-02-6516db68c441")
FACTS = {"T1": Decimal("3.75"), "T2": Decimal("1.40"), "T3": Decimal("9.99"), "T4": Decimal("4.00")}


def left_by_0_1(config: Config, lake: Path) -> None:
    statements = (FILES / "warehouse.sql").read_text(encoding="utf-8")
    with connect(config) as connection:
        connection.execute(statements.encode())
        connection.execute(b"create schema analysts")
        connection.execute(
            b"create view analysts.by_day as select sale_date, sum(amount) as amount "
            b"from mart_0_1.pg_sales group by sale_date"
        )
        connection.commit()
    for name, text in json.loads((FILES / "lake.json").read_text(encoding="utf-8")).items():
        path = lake / name
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = text.removeprefix("base64:")
        path.write_bytes(base64.b64decode(packed) if packed != text else text.encode())


def test_what_0_1_left_is_shown_again_and_gets_columns(
    servers: LocalServers, tmp_path: Path
) -> None:
    settings = servers.settings()
    settings["data_warehouse"] |= {"dataset": "raw_0_1"}
    settings["data_mart"] = {"dataset": "mart_0_1", "postgres_schema": "mart_0_1"}
    settings["security"] = {"algorithm": "sha256"}
    config = Config.model_validate(settings)
    lake = tmp_path / "lake"
    left_by_0_1(config, lake)

    def amounts() -> dict[str, Decimal]:
        sql = "select transaction_id, amount from mart_0_1.pg_sales"
        return dict(ask(config, "postgres", sql))

    rows = [summarise(RunFolder(str(lake), each)).rows for each in RUNS]
    assert [each and each.rows_valid for each in rows] == [3, 2]
    # The first day again: its parts have no amount, and the second day still corrects it.
    first = RunFolder(str(lake), RUNS[0])
    load(config, first, "postgres")
    transform(config, first, POSTGRES)
    reconcile(config, first, POSTGRES)
    publish(config, first, POSTGRES)
    assert amounts() == {token(name): amount for name, amount in FACTS.items()}

    changed = config.model_dump(by_alias=True)
    changed["ingestion"]["attributes"] = {"store": {"from": "Branch"}}
    source = tmp_path / "day-{date}.csv"
    source.with_name("day-2023-10-03.csv").write_text(
        "transaction_id,product,price,quantity,date,Branch\nT6,Tea,0.50,2,2023-10-03,North\n"
    )
    new = run(
        config.model_validate(changed),
        str(lake),
        source=str(source),
        business_date=date(2023, 10, 3),
        targets=POSTGRES,
    )
    assert amounts() == {
        token(name): amount for name, amount in (FACTS | {"T6": Decimal("1.00")}).items()
    }
    stores = ask(config, "postgres", "select distinct store from mart_0_1.pg_sales order by store")
    assert stores == [("North",), (None,)]
    # Of what only 0.1 has loaded, nobody knows what was rejected.
    history = "select run_id, reason, rows_read, rows_rejected from mart_0_1.quality_history"
    assert {*ask(config, "postgres", history)} == {
        (RUNS[0], None, 3, 0),
        (RUNS[1], None, None, None),
        (new.run_id, None, 1, 0),
    }
    checks = verify(config.model_validate(changed), POSTGRES, lake=str(lake)).checks
    assert [each for each in checks if each.status != "ok"] == []
    seen = ask(config, "postgres", "select sum(amount) from analysts.by_day")
    assert seen == [(sum(FACTS.values()) + 1,)]
