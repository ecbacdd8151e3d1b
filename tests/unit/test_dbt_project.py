"""The dbt project: it parses without a warning, keeps its own rules, and is GoogleSQL."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from googlesql import analyse, evaluate
from sales_mart.config import Config
from sales_mart.dbt_runner.process import DbtProcess
from sales_mart.dbt_runner.project import project_folder
from sales_mart.errors import ConfigurationError
from sales_mart.marts import check_manifest, fact, marts_of, read_marts
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.questions import Questions
from targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_mart.warehouses.windows import Window

# What a value that is data could try: end the literal, start a template, hide a quote.
HOSTILE = "O'Brien \\' \" -- {{ 1/0 }} {% x %} 100%_;\n\r\t\u2028 \u00e9\U0001f600 $$ `x` %(a)s"
NUMERIC = "NUMERIC"
RAW = {
    "transaction_id": "STRING",
    "product": "STRING",
    "price": NUMERIC,
    "quantity": "INT64",
    "amount": NUMERIC,
    "sale_date": "DATE",
    "source_file": "INT64",
    "source_row": "INT64",
    "run_id": "STRING",
    "business_date": "DATE",
    "superseded_by": "DATE",
}
MEASURES = {
    "total_amount": NUMERIC,
    "total_quantity": "INT64",
    "transaction_count": "INT64",
    "avg_price": NUMERIC,
}
MODELS = {
    "stg_transactions": {name: RAW[name] for name in list(RAW)[:6]}
    | {"run_id": "STRING", "expected_amount": NUMERIC}
    | dict.fromkeys(
        (
            "is_missing_product",
            "is_missing_price",
            "is_missing_quantity",
            "is_wrong_prefix",
            "is_price_too_low",
            "is_quantity_out_of_range",
            "is_in_marts",
        ),
        "BOOL",
    ),
    "fact_sales": {
        "transaction_id": "STRING",
        "product": "STRING",
        "price": NUMERIC,
        "quantity": "INT64",
        "amount": NUMERIC,
        "sale_date": "DATE",
    },
    "sales_by_product_month": {
        "product": "STRING",
        "sale_month": "DATE",
        "total_amount": NUMERIC,
        "total_quantity": "INT64",
        "total_price": NUMERIC,
        "transaction_count": "INT64",
    },
    "sales_by_product": {"product": "STRING"} | MEASURES,
    "sales_by_date": {"sale_date": "DATE"} | MEASURES,
    "summary_sales": {
        "product": "STRING",
        "sale_month": "DATE",
        "total_amount": NUMERIC,
        "avg_price": NUMERIC,
        "transaction_count": "INT64",
    },
}
MARTS = [name for name in MODELS if name != "stg_transactions"]
TABLES = {
    "sales-mart.transactions_warehouse.raw_transactions": RAW,
    "sales-mart.transactions_warehouse.stg_transactions": MODELS["stg_transactions"],
    "sales-mart.transactions_warehouse.sales_by_product_month": MODELS["sales_by_product_month"],
} | {f"sales-mart.transactions_mart__next.{name}": MODELS[name] for name in MARTS}
WINDOWS: dict[str, Window] = {
    "everything": None,
    "a window": (date(2024, 1, 5), date(2023, 12, 31), date(2024, 3, 1), date(9999, 12, 31)),
    "an empty window": (),
}


class Compiled(NamedTuple):
    """What dbt compiled: the SQL of every node by its name, and the manifest."""

    sql: dict[str, str]
    manifest: dict[str, Any]


def hostile_config(**ingestion: Any) -> Config:
    rules = {"product_prefix": HOSTILE, "min_price": "10.001", "max_decimals": 2}
    rules |= ingestion.pop("validation", {})
    return Config.model_validate({"ingestion": {"validation": rules} | ingestion})


def with_roles() -> Config:
    return hostile_config(
        attributes={
            # Words that SQL keeps for itself.
            "order": {"dimension": True},
            "group": {"dimension": True},
            "table": {"role": "currency"},
        },
        columns={"amount": {"from": "Total"}},
        validation={"allow_returns": True, "quantity_decimals": 3},
    )


@cache
def compiled_project(
    target: Target, window: str, configured: Callable[[], Config] = hostile_config
) -> Compiled:
    with DbtProcess(configured(), target, offline=True) as process:
        options = ("--no-introspect", "--no-populate-cache")
        process.start("compile", WINDOWS[window], options)
        outcome = process.wait()
        assert outcome.failures == ()
        manifest = json.loads((process.folder / "target" / "manifest.json").read_text())
        sql = {
            # The analyser's catalogue knows tables by their full names only.
            node["name"]: (process.folder / node["compiled_path"]).read_text().replace("`.`", ".")
            for node in manifest["nodes"].values()
            if node["config"]["enabled"]
        }
    return Compiled(sql, manifest)


@pytest.fixture
def config() -> Config:
    return hostile_config()


@pytest.fixture(params=list(WINDOWS))
def bigquery(request: pytest.FixtureRequest) -> Compiled:
    return compiled_project(Target.BIGQUERY, request.param)


@pytest.fixture
def postgres() -> Compiled:
    return compiled_project(Target.POSTGRES, "a window")


@pytest.mark.parametrize("target", list(Target))
def test_the_project_parses_by_itself_without_a_warning(target: Target, tmp_path: Path) -> None:
    project = str(project_folder())
    before = sorted(Path(project).rglob("*"))
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("dbt"), "parse", "--warn-error"),
            *("--project-dir", project, "--profiles-dir", project, "--target", target),
            *("--target-path", tmp_path / "target", "--log-path", tmp_path / "logs"),
            *("--no-partial-parse", "--no-version-check", "--no-use-colors"),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout
    # A read-only installation works, and nothing about anyone is sent anywhere.
    assert sorted(Path(project).rglob("*")) == before
    assert not list(tmp_path.rglob(".user.yml"))


def test_every_compiled_statement_is_googlesql_with_the_expected_types(bigquery: Compiled) -> None:
    for name, sql in bigquery.sql.items():
        found = analyse(sql, TABLES)
        if name in MODELS:
            assert found == MODELS[name], name
        else:
            assert found, name


ATTRIBUTES = dict.fromkeys(("order", "group", "table"), "STRING")
RETURNED = {"returned_amount": NUMERIC, "returned_quantity": NUMERIC}
WEIGHED: dict[str, str] = {"quantity": NUMERIC, "total_quantity": NUMERIC}
DIMENSION = {"dimension": "STRING", "value": "STRING", "sale_month": "DATE"}


def with_the_columns_of_roles(name: str, columns: dict[str, str]) -> dict[str, str]:
    """Return a model's columns as they are with returns, a currency and decimal quantities."""
    typed = [(each, WEIGHED.get(each, kind)) for each, kind in columns.items()]
    if name == "fact_sales":
        return dict(typed) | ATTRIBUTES
    if name in ("stg_transactions", "raw"):
        at = list(columns).index("run_id") + (name != "raw")
        return dict(typed[:at]) | ATTRIBUTES | dict(typed[at:])
    at = sum(kind in ("DATE", "STRING") for kind in columns.values())
    return dict(typed[:at]) | {"table": "STRING"} | dict(typed[at:]) | RETURNED


@pytest.mark.parametrize("window", WINDOWS)
def test_returns_currencies_and_dimensions_are_googlesql(window: str) -> None:
    compiled = compiled_project(Target.BIGQUERY, window, with_roles)
    models = {name: with_the_columns_of_roles(name, each) for name, each in MODELS.items()}
    models["sales_by_dimension"] = with_the_columns_of_roles(
        "sales_by_dimension", DIMENSION | {k: v for k, v in MEASURES.items() if k != "avg_price"}
    )
    tables = {
        name: with_the_columns_of_roles("raw" if each is RAW else name.rpartition(".")[2], each)
        for name, each in TABLES.items()
    }
    tables["sales-mart.transactions_mart__next.sales_by_dimension"] = models["sales_by_dimension"]
    assert {"sales_by_dimension_agrees_with_sales_by_product_month"} < compiled.sql.keys()
    for name, sql in compiled.sql.items():
        found = analyse(sql, tables)
        if name in models:
            # In their order: it is the one in which readers see them.
            assert list(found.items()) == list(models[name].items()), name
    declared = marts_of(open_warehouse(with_roles(), Target.BIGQUERY))
    check_manifest(read_marts(compiled.manifest), declared)
    assert {mart.model for mart in declared} == {*MARTS, "sales_by_dimension"}


def test_every_model_is_created_with_its_contract(bigquery: Compiled) -> None:
    """What dbt-bigquery puts together from contract, partitioning and select is GoogleSQL."""
    for name in MARTS:
        node = bigquery.manifest["nodes"][f"model.sales_mart.{name}"]
        assert node["config"]["contract"]["enforced"] is True
        columns = ", ".join(
            f"{column['name']} {column['data_type']} "
            + " ".join(rule["type"].replace("_", " ") for rule in column["constraints"])
            for column in node["columns"].values()
        )
        by = node["config"].get("partition_by")
        grains = {"day": "{field}", "month": "date_trunc({field}, month)"}
        partition = f"partition by {grains[by['granularity']].format(**by)}" if by else ""
        clusters = node["config"].get("cluster_by")
        cluster = f"cluster by {', '.join(clusters)}" if clusters else ""
        select = f"select {', '.join(node['columns'])} from ({bigquery.sql[name]}) as model_subq"
        analyse(
            f"create or replace table made ({columns}) {partition} {cluster} as ({select})", TABLES
        )


def test_the_marts_are_partitioned_and_clustered_as_designed(bigquery: Compiled) -> None:
    def config_of(name: str) -> dict[str, Any]:
        return bigquery.manifest["nodes"][f"model.sales_mart.{name}"]["config"]

    day = {"field": "sale_date", "data_type": "date", "granularity": "day"}
    month = {"field": "sale_month", "data_type": "date", "granularity": "month"}
    assert config_of("fact_sales")["partition_by"] == day
    assert config_of("fact_sales")["cluster_by"] == ["product"]
    assert config_of("sales_by_date")["cluster_by"] == ["sale_date"]
    assert config_of("summary_sales")["partition_by"] == month


def test_a_window_prunes_partitions_by_literals(postgres: Compiled) -> None:
    assert (
        "sale_date in (date '2024-01-05', date '2023-12-31', date '2024-03-01', date '9999-12-31')"
        in postgres.sql["fact_sales"]
    )
    months = postgres.sql["sales_by_product_month"]
    assert (
        "(sale_date between date '2023-12-01' and date '2024-01-31'"
        " or sale_date between date '2024-03-01' and date '2024-03-31'"
        " or sale_date between date '9999-12-01' and date '9999-12-31')"
    ) in months


def test_reconciliation_asks_googlesql(config: Config) -> None:
    window = WINDOWS["a window"]
    asked = Questions(open_warehouse(config, Target.BIGQUERY), lambda _: [])
    day = date(2023, 10, 1)
    expected = {"sale_date": "DATE", "row_count": "INT64", "amount": NUMERIC, "quantity": "INT64"}
    assert analyse(asked.days_sql(checksum=False), TABLES) == expected
    assert analyse(asked.days_sql(checksum=True), TABLES) == expected | {"checksum": "BIGNUMERIC"}
    assert analyse(asked.raw_sql("r1", window), TABLES)["is_of_run"] == "BOOL"
    assert set(analyse(asked.reasons_sql(window), TABLES).values()) == {"INT64"}
    assert analyse(asked.buckets_sql(day), TABLES)["bucket"] == "STRING"
    assert list(analyse(asked.rows_sql(day, ["0af"]), TABLES)) == ["transaction_id", "checksum"]


def test_a_hostile_value_is_one_literal_of_googlesql(bigquery: Compiled) -> None:
    """PostgreSQL reads its own in the integration tests."""
    found = re.findall(r"starts_with\(product, ('.*')\)\s", bigquery.sql["stg_transactions"])
    assert len(found) == 1
    assert evaluate(f"select {found[0]} as prefix") == [HOSTILE]


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [
        ("4999999.99", "1000000000", "0"),  # NUMERIC alone: 0.005000000, so a cent
        ("30.75", "2", "15.38"),
        ("10.00", "3", "3.33"),
        ("3000000000000000.99", "200", "15000000000000"),
        # The largest means: the stand-in server divides as a float, so only this can tell.
        ("999999999999999999", "1", "999999999999999999"),
        ("1999999999999999999", "2", "999999999999999999.5"),
        ("99999999999999999999999999999", "100000000001", "999999999990000000"),
        ("2999999999.999999997", "3", "1000000000"),
    ],
)
def test_a_mean_is_rounded_once_in_googlesql(
    bigquery: Compiled, total: str, count: str, expected: str
) -> None:
    (mean,) = re.findall(
        r"^ *(cast\(round.*) as avg_price", bigquery.sql["summary_sales"], re.MULTILINE
    )
    exact = mean.replace("total_price", f"numeric '{total}'").replace("transaction_count", count)
    assert evaluate(f"select cast({exact} as string) as mean") == [expected]


def test_both_warehouses_write_money_and_dates_alike(config: Config) -> None:
    """What the checksum of `reconcile` hashes, down to the years before 1000."""
    texts = {"0.05": "0.05", "10": "10.00", "10.1": "10.10", "12345678901234567.89": None}
    warehouse = open_warehouse(config, Target.BIGQUERY)
    checksum = warehouse.dialect.row_checksum(fact(marts_of(warehouse)).columns)
    (canonical,) = re.findall(r"md5\((.*)\)\), 15\)", checksum)
    for price, text in texts.items():
        sql = (
            f"select {canonical} as canonical from (select 'id' as transaction_id, 'a' as product,"
            f" numeric '{price}' as price, 7 as quantity, numeric '1.00' as amount,"
            " date '0007-02-03' as sale_date)"
        )
        assert evaluate(sql) == [f"id|a|{text or price}|7|1.00|0007-02-03"]


def test_every_model_is_described_to_its_last_column(postgres: Compiled) -> None:
    manifest = postgres.manifest
    assert {node["name"] for node in _of(manifest, "model")} == set(MODELS)
    for model in _of(manifest, "model"):
        assert model["description"].strip().startswith("One row per"), model["name"]
        assert model["config"]["meta"]["owner"], model["name"]
        assert set(model["columns"]) == set(MODELS[model["name"]]), model["name"]
        for column in model["columns"].values():
            assert column["description"], (model["name"], column["name"])
    for source in manifest["sources"].values():
        assert source["description"], source["name"]
        assert all(column["description"] for column in source["columns"].values())


def test_every_mart_has_a_contract_a_key_and_checked_values(postgres: Compiled) -> None:
    tests: dict[str, set[str]] = {}
    for test in _of(postgres.manifest, "test"):
        model = str(test["attached_node"]).rpartition(".")[2]
        tests.setdefault(model, set()).add(test["test_metadata"]["name"])
    for name in MARTS:
        node = postgres.manifest["nodes"][f"model.sales_mart.{name}"]
        assert node["config"]["materialized"] == "table"
        assert node["config"]["contract"]["enforced"] is True
        assert all(
            {"type": "not_null"}.items() <= rule.items()
            for column in node["columns"].values()
            for rule in column["constraints"]
        )
        assert all(column["constraints"] for column in node["columns"].values())
        assert tests[name] & {"grain_is_unique", "tokens_are_unique"}, name
        assert "rows_are_valid" in tests[name], name
    assert "tokens_stand_on_one_date" in tests["fact_sales"]


def test_the_yaml_files_say_what_dbt_builds(
    config: Config, postgres: Compiled, bigquery: Compiled
) -> None:
    for target, compiled in ((Target.POSTGRES, postgres), (Target.BIGQUERY, bigquery)):
        declared = marts_of(open_warehouse(config, target))
        assert {mart.model for mart in declared} == set(MARTS)
        check_manifest(read_marts(compiled.manifest), declared)
        with pytest.raises(ConfigurationError, match="dbt builds fact_sales otherwise"):
            check_manifest(read_marts(compiled.manifest), [m for m in declared if m.slice is None])


def test_only_staging_reads_the_raw_table(postgres: Compiled) -> None:
    raw = "source.sales_mart.sales.raw_transactions"
    readers = [
        model["name"]
        for model in _of(postgres.manifest, "model")
        if raw in model["depends_on"]["nodes"]
    ]
    assert readers == ["stg_transactions"]


def test_sources_have_a_freshness_and_marts_an_exposure(postgres: Compiled) -> None:
    loads = postgres.manifest["sources"]["source.sales_mart.sales.load_runs"]
    assert loads["loaded_at_field"] == "loaded_at"
    assert loads["freshness"]["error_after"]["count"]
    exposed = {
        node
        for exposure in postgres.manifest["exposures"].values()
        for node in exposure["depends_on"]["nodes"]
    }
    public = {f"model.sales_mart.{name}" for name in MARTS} - {
        "model.sales_mart.sales_by_product_month"
    }
    assert exposed == public


def test_the_fact_table_is_called_pg_sales_on_postgresql(
    postgres: Compiled, bigquery: Compiled
) -> None:
    names = [
        compiled.manifest["nodes"]["model.sales_mart.fact_sales"]["alias"]
        for compiled in (postgres, bigquery)
    ]
    assert names == ["pg_sales", "fact_sales"]


def test_nothing_is_needed_from_a_package_hub() -> None:
    assert not list(project_folder().glob("packages.y*ml"))
    assert not list(project_folder().glob("dependencies.y*ml"))


def _of(manifest: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == kind]
