"""Which tables are marts: what dbt's manifest says, and what it must say."""

from __future__ import annotations

from typing import Any

import pytest

from sales_mart.errors import ConfigurationError
from sales_mart.marts import Partition, read_marts
from sales_mart.schema import TableColumn


def model(name: str, *reads: str, **changes: Any) -> dict[str, Any]:
    """Return a node of the manifest, as dbt writes it for a table."""
    config = {
        "materialized": changes.pop("materialized", "table"),
        "meta": changes.pop("meta", {"publish": "mart", "slice": "none"}),
    }
    return {
        "resource_type": "model",
        "name": name,
        "alias": name,
        "original_file_path": f"models/own/{name}.sql",
        "config": config | changes.pop("config", {}),
        "columns": {
            "product": {"name": "product", "data_type": "string"},
            "sale_date": {"name": "sale_date", "data_type": "date"},
            "total": {"name": "total", "data_type": "numeric(29, 2)"},
        },
        "depends_on": {"nodes": list(reads)},
    } | changes


def manifest(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {f"model.sales_mart.{node['name']}": node for node in nodes}}


FACTS = model("fact_sales", meta={"publish": "mart", "slice": "sale_date"})
VIEW = model(
    "sales",
    "model.sales_mart.fact_sales",
    "source.sales_mart.sales.published_sales",
    materialized="view",
    meta={},
)


def test_a_mart_is_what_its_yaml_says() -> None:
    node = model(
        "by_day",
        meta={"publish": "private", "slice": "sale_date", "compare": ["sale_date", "total"]},
        config={
            "partition_by": {"field": "sale_date", "data_type": "date", "granularity": "day"},
            "cluster_by": ["product"],
        },
    )
    (mart,) = read_marts(manifest(node, VIEW | {"depends_on": {"nodes": []}}))
    assert (mart.name, mart.publish, mart.slice) == ("by_day", "private", "sale_date")
    assert mart.compared_columns == (
        TableColumn(name="sale_date", kind="date"),
        TableColumn(name="total", kind="decimal", digits=29, scale=2),
    )
    assert mart.partition == Partition(column="sale_date", granularity="day")
    assert mart.cluster == ("product",)


def test_a_mart_says_what_its_columns_sum() -> None:
    meta = {"publish": "mart", "slice": "none", "sums": {"total": "amount"}}
    (mart,) = read_marts(manifest(model("by_day", meta=meta)))
    assert mart.sums == {"amount": "total"}


def test_without_a_list_all_columns_are_compared() -> None:
    (mart,) = read_marts(manifest(model("by_day")))
    assert mart.compared == ("product", "sale_date", "total")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (model("lost", meta={}), "no publish"),
        (model("lost", meta={"publish": "mart"}), "no slice"),
        (model("lost", meta={"publish": "yes", "slice": "none"}), "publish: yes"),
        (model("lost", meta={"publish": "mart", "slice": "week"}), "slice: week"),
        (model("lost", materialized="incremental"), "is incremental"),
        (model("lost", columns={}), "lists no columns"),
        (model("lost", meta={"publish": "mart", "slice": "sale_month"}), "names sale_month"),
        (
            model("lost", meta={"publish": "mart", "slice": "none", "compare": ["weight"]}),
            "names weight",
        ),
        *(
            (model("lost", meta={"publish": "mart", "slice": "none", "sums": sums}), said)
            for sums, said in (
                ({"weight": "amount"}, "names weight"),
                ({"total": "weight"}, "has sums: .*weight"),
                ({"total": "amount", "product": "amount"}, "has sums: "),
            )
        ),
        (model("lost", columns={"weight": {"name": "weight"}}), "has no data_type"),
        (
            model("lost", columns={"weight": {"name": "weight", "data_type": "float64"}}),
            "has float64",
        ),
    ],
)
def test_a_table_that_does_not_say_what_becomes_of_it_is_refused(
    node: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"model lost .*{said}"):
        read_marts(manifest(node))


def test_two_tables_of_one_name_are_refused() -> None:
    other = model("other") | {"alias": "by_day"}
    with pytest.raises(ConfigurationError, match="both called by_day"):
        read_marts(manifest(model("by_day"), other))


def test_a_model_that_is_called_like_a_table_of_the_pipeline_is_refused() -> None:
    for node in (model("quality_history"), model("other") | {"alias": "quality_history"}):
        with pytest.raises(ConfigurationError, match="is called quality_history, as a table"):
            read_marts(manifest(node))


def test_a_whole_table_does_not_read_rows_of_a_window_only() -> None:
    between = model("between", "model.sales_mart.fact_sales", materialized="view", meta={})
    for reads in ("model.sales_mart.fact_sales", "model.sales_mart.between"):
        with pytest.raises(ConfigurationError, match="reads fact_sales") as caught:
            read_marts(manifest(FACTS, between, model("best", reads)))
        assert "ref('sales')" in caught.value.remedy
    assert read_marts(manifest(FACTS, VIEW, model("best", "model.sales_mart.sales")))
