"""(a) Validate and tokenise a file: ours, the floor, and SQL engines."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.harness import Contestant

Counts = dict[str, Any]

PARQUET = "reasons, tokens, first of an id wins, valid and quarantine Parquet"
OURS = (
    "sales_mart.steps.plan",
    "sales_mart.steps.validate",
    "sales_mart.steps.seal",
    "polars_hash",
)
CONTESTANTS = [
    Contestant(
        "Polars scan",
        "validation:scan",
        note="the floor: five columns as text",
        agrees=False,
        imports=("polars",),
    ),
    Contestant(
        "sales_mart, in memory",
        "validation:ours_in_memory",
        note="every rule and reason, lines and offsets, tokens; nothing written or settled",
        agrees=False,
        imports=OURS,
    ),
    Contestant("sales_mart", "validation:ours", note=f"{PARQUET}; lines and offsets", imports=OURS),
    Contestant("DuckDB SQL", "validation:duckdb", note=PARQUET, imports=("duckdb",)),
    Contestant("ClickHouse SQL (chdb)", "validation:chdb", note=PARQUET, imports=("chdb.session",)),
    Contestant(
        "dataframely",
        "validation_frames:dataframely",
        share=0.2,
        note=PARQUET,
        imports=("dataframely", "polars_hash"),
    ),
    Contestant(
        "pandera (Polars)",
        "validation_frames:pandera",
        share=0.1,
        note=PARQUET,
        imports=("pandera.polars", "polars_hash"),
    ),
    Contestant(
        "Pydantic, row by row",
        "validation_frames:pydantic",
        share=0.02,
        note="reasons, tokens, first of an id wins; nothing written",
    ),
]


def scan(file: str, **_: object) -> Counts:
    """Read every field as text and hold none."""
    import polars as pl

    frame = pl.scan_csv(file, infer_schema=False, quote_char=None)
    lengths = frame.select(pl.len().alias("rows"), pl.all().str.len_bytes().sum())
    return {"rows": lengths.collect(engine="streaming")["rows"].item()}


def ours_in_memory(file: str, settings: dict[str, Any], **_: object) -> Counts:
    """Check and tokenise block by block, and drop the frames."""
    from sales_mart.config import Config
    from sales_mart.schema import schema_of

    columns = schema_of(Config()).fields
    from sales_mart.rows.checker import Checker
    from sales_mart.rows.tokens import tokeniser
    from sales_mart.source.csv_reader import read_blocks

    config = Config.model_validate(settings)
    checker = Checker(config, tokeniser(config))
    valid = rejected = 0
    with Path(file).open("rb") as stream:
        for block in read_blocks(stream, file, columns):
            good, bad = checker.check(block.fields.lazy())
            valid += good.height
            rejected += bad.height + len(block.flaws)
    return {"valid_with_duplicates": valid, "rejected": rejected}


def ours(file: str, settings: dict[str, Any], folder: str, **_: object) -> Counts:
    """Take the file through plan, validate and seal."""
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.steps.plan import plan
    from sales_mart.steps.seal import seal
    from sales_mart.steps.validate import validate_shard

    shutil.rmtree(folder, ignore_errors=True)
    config = Config.model_validate(settings)
    made = plan(config, folder, source=file, business_date=date(2023, 10, 1))
    run = RunFolder(folder, made.run_id)
    validate_shard(config, run, 0)
    sealed = seal(config, run)
    return {
        "valid": sealed.rows_valid,
        "rejected": sealed.rows_rejected,
        "reasons": dict(sorted(sealed.reasons.items())),
    }


def duckdb(file: str, folder: str, **_: object) -> Counts:
    """Check by hand-written DuckDB SQL."""
    import duckdb as engine

    out = _empty(folder)
    with engine.connect(str(out / "work.duckdb")) as connection:
        connection.execute(_script("validate_duckdb.sql", file, out))
        valid, quarantined = connection.execute(
            f"select (select count(*) from '{out}/valid.parquet'), "
            f"(select count(*) from '{out}/quarantine.parquet')"
        ).fetchall()[0]
        reasons = connection.execute(
            f"with each as (select unnest(reasons) as reason from '{out}/quarantine.parquet') "
            "select reason, count(*) from each group by reason order by reason"
        ).fetchall()
    return {"valid": valid, "rejected": quarantined, "reasons": dict(reasons)}


def chdb(file: str, folder: str, **_: object) -> Counts:
    """Check by hand-written ClickHouse SQL, in the server that comes in a wheel."""
    import json

    from chdb import session

    out = _empty(folder)
    with session.Session(str(out / "work")) as connection:
        for statement in _script("validate_clickhouse.sql", file, out).split(";\n")[:-1]:
            connection.query(statement)
        found = connection.query(
            f"select (select count() from file('{out}/valid.parquet')) as valid, "
            f"(select count() from file('{out}/quarantine.parquet')) as quarantined",
            "JSONEachRow",
        )
        counts = {name: int(count) for name, count in json.loads(str(found)).items()}
        found = connection.query(
            f"select arrayJoin(reasons) as reason, count() as n "
            f"from file('{out}/quarantine.parquet') group by reason order by reason",
            "JSONEachRow",
        )
    lines = (json.loads(line) for line in str(found).splitlines())
    return {**counts, "reasons": {line["reason"]: int(line["n"]) for line in lines}}


def _script(name: str, file: str, out: Path) -> str:
    script = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return script.replace("@file", file).replace("@out", str(out))


def _empty(folder: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    out = Path(folder)
    out.mkdir(parents=True)
    return out
