"""The events of a run: valid by OpenLineage's schemas, and without a value of a row."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from described import INGESTION, PUBLISHED_AT, SECRET, config_of, published_run
from lineage_events import read_event
from sales_mart.lake.records import SourceObject
from sales_mart.lake.storage import open_storage
from sales_mart.steps.descriptions import LINEAGE, describe, described
from sales_mart.steps.lineage import MOST_INPUTS
from secrecy import find_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sales_mart.config import Config

Event = dict[str, Any]
RAW = "sales.transactions_warehouse.raw_transactions"


def written(config: Config, lake: Path, **run: Any) -> bytes:
    """Describe a run beside the exports; gives its lineage."""
    exports = open_storage(str(lake / "export"))
    describe(config, published_run(config, lake, **run), exports)
    return exports.read(LINEAGE)


def events(config: Config, lake: Path, **run: Any) -> list[Event]:
    return [json.loads(line) for line in written(config, lake, **run).splitlines()]


def dataset(listed: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [each for each in listed if each["name"] == name]
    return found


def lineage_of(output: dict[str, Any]) -> dict[str, list[tuple[str, str, str, bool]]]:
    """Give the origins of each column: dataset, column, kind, whether nothing is left of it."""
    return {
        name: [
            (each["name"], each["field"], kind["subtype"], kind["masking"])
            for each in field["inputFields"]
            for kind in each["transformations"]
        ]
        for name, field in output["facets"]["columnLineage"]["fields"].items()
    }


@pytest.mark.parametrize("ingestion", [INGESTION, {}], ids=["columns of every kind", "default"])
def test_the_events_are_valid_by_their_schemas(ingestion: dict[str, Any], lake: Path) -> None:
    found = events(config_of(ingestion), lake)
    assert [each["eventType"] for each in found] == ["START", "COMPLETE"] * 2
    for each in found:
        read_event(each)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("eventTime",), "yesterday"),
        (("eventType",), "DONE"),
        (("run", "runId"), "day-4"),
        (("job", "name"), 5),
        (("job", "owner"), "me"),
        (("outputs", 0, "namespace"), None),
        (("outputs", 0, "facets", "schema", "fields", 0, "ordinal_position"), "1"),
        (("outputs", 0, "facets", "schema", "fields", 0, "kind"), "text"),
        (("outputs", 0, "facets", "schema", "_schemaURL"), "https://example.com/Schema.json"),
        (("outputs", 0, "outputFacets", "outputStatistics", "rowCount"), 1.5),
        (("inputs", 0, "inputFacets", "schema"), "outputStatistics"),
        (("run", "facets", "tags", "tags", 0, "value"), None),
    ],
)
def test_an_event_that_is_wrong_is_found(
    place: tuple[str | int, ...], value: object, lake: Path
) -> None:
    complete = events(config_of(), lake)[1]
    inner: Any = complete
    for step in place[:-1]:
        inner = inner[step]
    if value == "outputStatistics":
        value = complete["outputs"][0]["outputFacets"][value]
    inner[place[-1]] = value
    with pytest.raises((ValueError, TypeError)):
        read_event(complete)


def test_a_run_has_one_job_and_the_times_of_its_records(lake: Path) -> None:
    start, complete, _, checked = events(config_of(), lake)
    assert start["run"] == complete["run"]
    assert start["job"] == complete["job"]
    assert (start["job"]["namespace"], start["job"]["name"]) == ("sales_mart", "sales.public")
    assert datetime.fromisoformat(start["eventTime"]) == PUBLISHED_AT.replace(minute=0)
    assert datetime.fromisoformat(complete["eventTime"]) == PUBLISHED_AT
    parent = checked["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == complete["run"]["runId"]
    tags = {each["key"]: each["value"] for each in start["run"]["facets"]["tags"]["tags"]}
    assert (tags["run_id"], tags["mode"], tags["rows_rejected"]) == ("day-4", "append", "3")


def test_the_datasets_are_named_as_the_specification_says(lake: Path) -> None:
    complete = events(config_of(), lake)[1]
    assert [(each["namespace"], each["name"]) for each in complete["inputs"]] == [
        ("file", "day-2023-11-04.csv")
    ]
    named = {(each["namespace"], each["name"]) for each in complete["outputs"]}
    assert named >= {
        ("postgres://db.example.com:5432", RAW),
        ("postgres://db.example.com:5432", "sales.public.pg_sales"),
        ("bigquery", "shop-project.transactions_mart.fact_sales"),
        ("duckdb://shop.duckdb", "shop.transactions_mart.summary_sales"),
    }
    assert len(named) == 3 * 7


@pytest.mark.parametrize(
    ("host", "namespace"),
    [
        ("a.example.com,b.example.com", "postgres://a.example.com:5432"),
        ("/run/postgresql", "postgres://localhost:5432"),
        ("::1", "postgres://[::1]:5432"),
    ],
)
def test_a_server_has_one_name(host: str, namespace: str, lake: Path) -> None:
    config = config_of(postgres={"host": host, "dbname": "sales"})
    complete = events(config, lake, targets=("postgres",))[1]
    assert {each["namespace"] for each in complete["outputs"]} == {namespace}


def test_rows_are_counted(lake: Path) -> None:
    outputs = events(config_of(), lake)[1]["outputs"]
    counted = {
        each["name"]: each["outputFacets"]["outputStatistics"]["rowCount"] for each in outputs
    }
    assert (counted[RAW], counted["sales.public.pg_sales"]) == (7, 5)


def test_each_column_is_followed_from_the_source_to_the_marts(lake: Path) -> None:
    outputs = events(config_of(), lake)[1]["outputs"]
    file = "day-2023-11-04.csv"
    raw = lineage_of(dataset(outputs, RAW))
    assert raw["transaction_id"] == [
        (file, name, "TRANSFORMATION", True) for name in ("Order No", "Line")
    ]
    assert raw["mail"] == [(file, "E-mail", "TRANSFORMATION", True)]
    assert raw["product"] == [(file, name, "IDENTITY", False) for name in ("Item", "Article")]
    assert raw["amount"] == [(file, "price", "TRANSFORMATION", False)]
    assert "quantity" not in raw  # a constant
    fields = dataset(outputs, RAW)["facets"]["columnLineage"]["fields"]
    masked = {name for name, each in fields.items() if each.get("transformationType") == "MASKED"}
    assert masked == {"transaction_id", "mail"}
    facts = lineage_of(dataset(outputs, "sales.public.pg_sales"))
    assert facts["mail"] == [(RAW, "mail", "IDENTITY", False)]
    assert set(facts) == {*raw, "quantity"}
    summary = lineage_of(dataset(outputs, "sales.public.summary_sales"))
    assert summary == {
        "product": [(RAW, "product", "IDENTITY", False)],
        "sale_month": [(RAW, "sale_date", "TRANSFORMATION", False)],
        "paid_in": [(RAW, "paid_in", "IDENTITY", False)],
        "total_amount": [(RAW, "amount", "AGGREGATION", False)],
        "avg_price": [(RAW, "price", "AGGREGATION", False)],
        "transaction_count": [(RAW, "transaction_id", "AGGREGATION", False)],
        "returned_amount": [(RAW, "amount", "AGGREGATION", False)],
        "returned_quantity": [(RAW, "quantity", "AGGREGATION", False)],
    }
    sliced = lineage_of(dataset(outputs, "sales.public.sales_by_dimension"))
    assert sliced["value"] == [(RAW, "store", "TRANSFORMATION", False)]
    assert "dimension" not in sliced  # a name from the configuration


def test_every_column_of_our_marts_has_an_origin(lake: Path) -> None:
    for output in events(config_of({}), lake)[1]["outputs"]:
        columns = {each["name"] for each in output["facets"]["schema"]["fields"]}
        own = {"source_file", "source_row", "run_id", "business_date", "superseded_by"}
        assert lineage_of(output).keys() == columns - own, output["name"]


def test_tests_and_the_agreement_are_assertions(lake: Path) -> None:
    checked = events(config_of(), lake)[3]["inputs"]

    def of(name: str) -> dict[str, bool]:
        facet = dataset(checked, name)["inputFacets"]["dataQualityAssertions"]
        return {each["assertion"]: each["success"] for each in facet["assertions"]}

    assert of("sales.public.pg_sales") == {"fact_sales_rows_are_valid": True, "reconcile": True}
    assert of("shop-project.transactions_mart.summary_sales") == {
        "summary_sales_grain_is_unique": True,
        "not_null_of_somebody": False,
        "reconcile": True,
    }


@pytest.mark.parametrize(
    ("root", "named"),
    [
        ("/data/{}/in", ("file", "in")),
        ("gs://bucket/raw/in", ("gs://bucket", "raw/in")),
    ],
)
def test_of_very_many_objects_the_folder_is_named(
    root: str, named: tuple[str, str], lake: Path
) -> None:
    objects = [
        SourceObject(uri=f"{root.format(SECRET)}/{n}.csv", size=2, digest=f"sha256:{n}", name="n")
        for n in range(MOST_INPUTS + 1)
    ]
    text = written(config_of(), lake, objects=objects)
    assert len(text) < 200_000
    (source,) = json.loads(text.splitlines()[0])["inputs"]
    assert (source["namespace"], source["name"]) == named
    statistics = source["inputFacets"]["inputStatistics"]
    assert (statistics["size"], statistics["fileCount"]) == (202, 101)
    assert len(
        json.loads(written(config_of(), lake, objects=objects[1:]).splitlines()[0])["inputs"]
    )
    several = [*objects, SourceObject(uri="s3://other/a.csv", size=1, digest="s", name="a.csv")]
    sources = json.loads(written(config_of(), lake, objects=several).splitlines()[0])["inputs"]
    assert [(each["namespace"], each["name"]) for each in sources] == [
        named,
        ("s3://other", "a.csv"),
    ]


def test_the_same_run_gives_the_same_bytes(lake: Path) -> None:
    config = config_of()
    first = written(config, lake)
    assert written(config, lake) == first == described(published_run(config, lake), LINEAGE)


def test_no_secret_and_no_folder_of_this_computer_is_in_it(lake: Path) -> None:
    found = find_in(written(config_of(), lake), {"a personal value": SECRET}, "the lineage")
    assert found == []


def test_names_that_move_the_cursor_stand_in_it_as_escapes(lake: Path) -> None:
    name = "a\x1b[31m\u202eb\n.csv"
    source = SourceObject(uri=f"/in/{name}", size=1, digest="sha256:ab", name=name)
    text = written(config_of(), lake, objects=[source])
    assert text.count(b"\n") == 4
    (shown,) = json.loads(text.splitlines()[0])["inputs"]
    assert shown["name"] == r"a\x1b[31m\u202eb\n.csv"


def test_the_command_prints_it_again(
    elsewhere: Path, lake: Path, ask: Callable[..., tuple[int, str, str]]
) -> None:
    assert elsewhere
    text = written(config_of(), lake)
    code, out, _ = ask("lineage", "day-4", "--lake", str(lake))
    assert (code, out.encode()) == (0, text)
