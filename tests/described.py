"""A published run, written by hand into a lake: what its descriptions are made from."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sales_mart.config import Config
from sales_mart.lake.records import (
    Load,
    Mode,
    NodeResult,
    Plan,
    Publish,
    Reconcile,
    Seal,
    SourceObject,
    TargetTransform,
    Transform,
)
from sales_mart.lake.runs import RunFolder
from sales_mart.marts import FACT_MODEL
from sales_mart.rows.sums import Sums
from sales_mart.warehouses.base import warehouse_class

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TARGETS = ("postgres", "bigquery", "duckdb")
SECRET = "Canary-of-a-personal-column"
INGESTION: dict[str, Any] = {
    "validation": {
        "allow_returns": True,
        "min_price": "0.50",
        "product_prefix": "Tea (",
        "max_reject_share": 0.25,
    },
    "columns": {
        "transaction_id": ["Order No", "Line", "$row"],
        "product": {"any_of": ["Item", "Article"]},
        "quantity": {"value": 1},
    },
    "attributes": {
        "mail": {"from": "E-mail", "pii": True, "description": "Who has paid."},
        "store": {"from": "Filiale", "dimension": True, "accepted_values": ["Jakarta", "Bandung"]},
        "paid_in": {"role": "currency"},
        "boxes": {"type": "integer"},
    },
}
PUBLISHED_AT = datetime(2023, 11, 5, 6, 7, 8, tzinfo=UTC)


def config_of(ingestion: dict[str, Any] | None = None, **warehouse: Any) -> Config:
    """Return a configuration; by default one with every kind of column."""
    return Config.model_validate(
        {
            "ingestion": INGESTION if ingestion is None else ingestion,
            "data_warehouse": {
                "targets": list(TARGETS),
                "project_id": "shop-project",
                "postgres": {"host": "db.example.com", "dbname": "sales", "password": SECRET},
                "duckdb": {"path": f"/home/{SECRET}/shop.duckdb"},
                **warehouse,
            },
        }
    )


def published_run(
    config: Config,
    lake: Path | str,
    objects: Sequence[SourceObject] = (
        SourceObject(
            uri=f"/home/{SECRET}/day-2023-11-04.csv",
            size=512,
            digest="sha256:ab",
            name="day-2023-11-04.csv",
        ),
    ),
    targets: Sequence[str] = TARGETS,
) -> RunFolder:
    """Write the records of a published run, all but that of its export."""
    run = RunFolder(str(lake), "day-4")
    day = date(2023, 11, 4)
    plan = Plan(
        run_id=run.run_id,
        business_date=day,
        mode=Mode.APPEND,
        source=f"/home/{SECRET}/day-{{date}}.csv",
        objects=tuple(objects),
        shards=(tuple(range(len(objects))),),
        config_digest=config.digest,
    )
    seal = Seal(
        run_id=run.run_id,
        rows_read=10,
        rows_valid=7,
        rows_rejected=3,
        reasons={"price_too_low": 2, "boxes_format": 1, "missing_date": 0},
        excluded={},
        rows_excluded=0,
        amount=Decimal("1040.00"),
        quantity=7,
        key_id="0123abcd",
        valid=(),
        quarantine=(),
        business_date=day,
        mode=Mode.APPEND,
        config_digest=config.digest,
        sale_dates=(day,),
    )
    run.write("plan", plan)
    run.write("seal", seal)
    marts = {target: warehouse_class(target)(config).marts for target in targets}
    for ordinal, target in enumerate(targets):
        load = Load(
            run_id=run.run_id,
            target=target,
            mode=Mode.APPEND,
            sequence=4,
            rows=7,
            window=(day,),
            seal_digest=seal.digest,
            loaded_at=PUBLISHED_AT.replace(minute=ordinal),
        )
        run.write(f"load-{target}", load)
    nodes = (
        NodeResult(unique_id="model.sales_mart.fact_sales", status="success", seconds=1),
        *(
            NodeResult(
                unique_id=f"test.sales_mart.{name}.0a1b2c3d4e",
                status=status,
                seconds=0.1,
                failures=failures,
                tests=model,
            )
            for name, model, status, failures in (
                ("fact_sales_rows_are_valid", "fact_sales", "pass", 0),
                ("summary_sales_grain_is_unique", "summary_sales", "pass", 0),
                ("not_null_of_somebody", "summary_sales", "warn", 2),
            )
        ),
    )
    transform = Transform(
        run_id=run.run_id,
        targets=tuple(
            TargetTransform(
                target=target, sequence=4, window=(day,), nodes=nodes, seconds=2, built={}
            )
            for target in targets
        ),
    )
    run.write("transform", transform)
    reconcile = Reconcile(
        run_id=run.run_id,
        amount=seal.amount,
        quantity=seal.quantity,
        targets=tuple(targets),
        days=1,
        rows=7,
        sequences=dict.fromkeys(targets, 4),
        facts={target: {day: Sums(7, seal.amount, 7)} for target in targets},
        marts={
            target: {
                mart.name: (2, Decimal(1)) for mart in marts[target] if mart.model != FACT_MODEL
            }
            for target in targets
        },
    )
    run.write("reconcile", reconcile)
    publish = Publish(
        run_id=run.run_id,
        rows={target: {mart.name: 5 for mart in marts[target]} for target in targets},
        published_at=PUBLISHED_AT,
    )
    run.write("publish", publish)
    return run
