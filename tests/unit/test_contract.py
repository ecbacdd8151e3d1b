"""The data contract: valid by its standard, and without a value of a row."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft201909Validator, FormatChecker
from open_data_contract_standard.model import OpenDataContractStandard

from described import INGESTION, PUBLISHED_AT, SECRET, TARGETS, config_of, published_run
from sales_mart.lake.records import Publish
from sales_mart.lake.storage import open_storage
from sales_mart.rows.rules import mart_rules, reasons_of, rules
from sales_mart.steps.descriptions import CONTRACT, describe, described
from secrecy import find_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder


def read(text: bytes) -> dict[str, Any]:
    return yaml.safe_load(text)


def findings(document: dict[str, Any]) -> list[str]:
    """Say what the standard's own schema and model have against a contract."""
    text = files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    validator = Draft201909Validator(schema, format_checker=FormatChecker())
    found = [
        f"{list(each.absolute_path)}: {each.message}" for each in validator.iter_errors(document)
    ]
    OpenDataContractStandard(**document)
    return found


def written(config: Config, lake: Path, **run: Any) -> bytes:
    """Describe a run beside the exports; gives the contract."""
    exports = open_storage(str(lake / "export"))
    describe(config, published_run(config, lake, **run), exports)
    return exports.read(CONTRACT)


def named(listed: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [each for each in listed if each.get("name", each.get("property")) == name]
    return found


def said(listed: list[dict[str, Any]], name: str) -> Any:
    return named(listed, name)["value"]


@pytest.mark.parametrize("ingestion", [INGESTION, {}], ids=["columns of every kind", "default"])
def test_it_is_valid_by_the_schema_of_the_standard(ingestion: dict[str, Any], lake: Path) -> None:
    document = read(written(config_of(ingestion), lake))
    assert findings(document) == []
    assert document["apiVersion"] == "v3.1.0"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("kind",), None),
        (("apiVersion",), "v9"),
        (("servers", 0, "host"), None),
        (("schema", 0, "properties", 0, "logicalType"), "token"),
        (("schema", 0, "quality", 0, "metric"), "unique"),
        (("schema", 0, "rows"), 5),
    ],
)
def test_a_contract_that_is_wrong_is_found(
    place: tuple[str | int, ...], value: object, lake: Path
) -> None:
    document = read(written(config_of(), lake))
    inner: Any = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    assert findings(document)


def test_it_lists_the_marts_that_readers_see(lake: Path) -> None:
    document = read(written(config_of(), lake))
    assert [each["name"] for each in document["schema"]] == [
        *("fact_sales", "sales_by_date", "sales_by_dimension", "sales_by_product"),
        "summary_sales",
    ]
    facts = document["schema"][0]
    assert facts["physicalName"] == "pg_sales"
    assert said(facts["customProperties"], "physicalNames") == {
        "postgres": "pg_sales",
        "bigquery": "fact_sales",
        "duckdb": "fact_sales",
    }
    assert facts["physicalType"] == "view"
    assert said(facts["customProperties"], "physicalTypes") == {
        "postgres": "view",
        "bigquery": "table",
        "duckdb": "table",
    }
    columns = facts["properties"]
    assert [each["name"] for each in columns] == [
        *("transaction_id", "product", "price", "quantity", "amount", "sale_date"),
        *("mail", "store", "paid_in", "boxes"),
    ]
    assert all(
        each["description"] for each in columns if each["name"] not in INGESTION["attributes"]
    )
    amount = named(columns, "amount")
    assert (amount["logicalType"], amount["required"]) == ("number", True)
    assert said(amount["customProperties"], "physicalTypes") == {
        "postgres": "numeric(29,2)",
        "bigquery": "NUMERIC(29,2)",
        "duckdb": "decimal(29,2)",
    }
    summary = document["schema"][-1]
    assert [
        (each["name"], each["primaryKeyPosition"])
        for each in summary["properties"]
        if each.get("primaryKey")
    ] == [("product", 1), ("sale_month", 2), ("paid_in", 3)]
    assert {each["server"]: each["type"] for each in document["servers"]} == {
        name: name for name in TARGETS
    }


def test_it_says_every_reason_to_reject_a_row_and_the_limits(lake: Path) -> None:
    config = config_of()
    document = read(written(config, lake))
    facts = document["schema"][0]
    quality = {
        each["name"]: each
        for part in (facts, *facts["properties"])
        for each in part.get("quality", ())
        if "name" in each
    }
    known = {rule.reason for rule in rules(mart_rules(config))} | {"malformed_row", "encoding"}
    known |= {"duplicate_transaction_id", "conflicting_transaction_id", "price_too_low"}
    assert known <= quality.keys()
    reasons = reasons_of(config)
    for reason in known:
        assert reasons[reason].meaning in quality[reason]["description"]
    assert said(quality["price_too_low"]["customProperties"], "value") == "0.50"
    assert quality["max_reject_share"]["implementation"] == {
        "ingestion.validation.max_reject_share": 0.25
    }
    assert quality["fact_sales_rows_are_valid"]["engine"] == "dbt"
    store = named(facts["properties"], "store")
    texts = next(each["arguments"] for each in store["quality"] if each["type"] == "library")
    assert texts == {"validValues": ["Jakarta", "Bandung"]}
    assert named(facts["properties"], "product")["logicalTypeOptions"] == {"pattern": r"^Tea\ \("}


def test_it_tells_which_publication_it_is_of(lake: Path) -> None:
    document = read(written(config_of(), lake))
    more = document["customProperties"]
    assert document["contractCreatedTs"] == PUBLISHED_AT.isoformat().replace("+00:00", "Z")
    assert (said(more, "runId"), said(more, "businessDate")) == ("day-4", "2023-11-04")
    assert said(more, "publications")["postgres"]["sequence"] == 4
    assert said(more, "publications")["postgres"]["rows"]["pg_sales"] == 5
    assert (said(more, "rowsRead"), said(more, "rowsRejected")) == (10, 3)
    assert said(more, "rejectedByReason") == {"boxes_format": 1, "price_too_low": 2}


def test_the_same_run_gives_the_same_bytes_and_another_the_same_version(lake: Path) -> None:
    config = config_of()
    first = written(config, lake)
    assert written(config, lake) == first
    run = published_run(config, lake)
    assert described(run, CONTRACT) == first
    later = run.read("publish", Publish).model_copy(
        update={"published_at": PUBLISHED_AT.replace(year=2024)}
    )
    run.write("publish", later)
    describe(config, run, open_storage(str(lake / "export")))
    other = described(run, CONTRACT)
    assert other != first
    assert read(other)["version"] == read(first)["version"]
    stricter = INGESTION | {"validation": INGESTION["validation"] | {"max_quantity": 5}}
    changed = read(written(config_of(stricter), lake))
    assert changed["version"] != read(first)["version"]
    assert changed["id"] == read(first)["id"]


def test_no_value_of_a_row_and_no_secret_is_in_it(lake: Path) -> None:
    personal = {"mail": {"from": "E-mail", "pii": True, "accepted_values": [SECRET]}}
    config = config_of(INGESTION | {"attributes": personal})
    assert any(rule.reason == "mail_not_accepted" for rule in rules(config))
    text = written(config, lake)
    assert find_in(text, {"a personal value": SECRET}, "the contract") == []
    mail = named(read(text)["schema"][0]["properties"], "mail")
    assert mail["classification"] == "pseudonymised"
    assert mail["logicalTypeOptions"] == {"pattern": "^[0-9a-f]{64}$"}


def test_what_turns_a_line_round_stands_in_it_as_an_escape(lake: Path) -> None:
    prefix = "Größe\u202e\x1b[31m"
    config = config_of({"validation": {"product_prefix": prefix}})
    text = written(config, lake)
    assert b"\x1b" not in text
    assert "\u202e" not in text.decode()
    facts = read(text)["schema"][0]
    rule = named(named(facts["properties"], "product")["quality"], "product_prefix")
    assert said(rule["customProperties"], "value") == prefix


# --- the command


@pytest.fixture
def exported(elsewhere: Path, lake: Path) -> RunFolder:
    """Describe a run where the command looks for it."""
    config = config_of()
    run = published_run(config, lake)
    exports = open_storage(str(lake / "export"))
    describe(config, run, exports)
    exports.write("manifest.json", json.dumps({"run_id": run.run_id}).encode())
    assert elsewhere
    return run


def test_the_command_prints_it_again(
    exported: RunFolder, lake: Path, ask: Callable[..., tuple[int, str, str]]
) -> None:
    for names in ((), (exported.run_id,)):
        code, out, _ = ask("contract", *names, "--lake", str(lake))
        assert code == 0
        assert out.encode() == described(exported, CONTRACT)


def test_the_command_writes_a_file(
    exported: RunFolder, lake: Path, ask: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = ask("contract", "--to", "mine.yaml", "--lake", str(lake), "-o", "json")
    assert (code, json.loads(out)["run_id"]) == (0, exported.run_id)
    written_there = json.loads(out)["path"]
    assert open_storage(written_there.rpartition("/")[0]).read("mine.yaml") == described(
        exported, CONTRACT
    )


def test_the_command_says_what_is_missing(
    exported: RunFolder, lake: Path, ask: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = ask("contract", "another", "--lake", str(lake))
    assert code == 2
    assert "another has no contract.odcs.yaml" in err
    assert "sales-mart export" in err
    open_storage(exported.lake.uri).delete("export/manifest.json")
    code, _, err = ask("contract", "--lake", str(lake))
    assert code == 2
    assert "there is no export" in err
