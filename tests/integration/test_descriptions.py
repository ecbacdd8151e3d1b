"""What a real run leaves for other tools: contract, lineage and dbt's artefacts."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from lineage_events import read_event
from published import DESCRIPTIONS
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.export import export
from sales_mart.steps.pipeline import run
from secrecy import find_in, find_in_files
from warehouses import fresh_config

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers

ID, MAIL = "Canary-0815-identifier", "canary.mail@example.com"
SECRETS = {"an identifier": ID, "a mail": MAIL}
INGESTION: dict[str, Any] = {
    "attributes": {
        "mail": {"pii": True},
        "store": {"dimension": True},
        "boxes": {"type": "integer"},
    }
}
ROWS = (
    f"{ID}-1,Tea,10.00,2,2023-11-04,1.{MAIL},Jakarta,1",
    f"{ID}-2,Ink,20.00,1,2023-11-04,2.{MAIL},Bandung,1",
    f"{ID}-3,Ink,20.00,1,2023-11-04,3.{MAIL},Bandung,some",
)
TARGETS = ("postgres", "duckdb")


class Done(NamedTuple):
    """A run with personal columns."""

    config: Config
    lake: Path
    run: RunFolder


@pytest.fixture(scope="module")
def done(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("described")
    fields = fresh_config(servers).model_dump(by_alias=True)
    fields["ingestion"] |= INGESTION
    fields["data_warehouse"]["targets"] = TARGETS
    config = fresh_config(servers).model_validate(fields)
    source = folder / "sales.csv"
    header = "transaction_id,product,price,quantity,date,mail,store,boxes"
    source.write_text("\n".join((header, *ROWS, "")))
    lake = folder / "lake"
    made = run(config, str(lake), business_date=date(2023, 11, 5), source=str(source))
    return Done(config, lake, RunFolder(str(lake), made.run_id))


def test_the_lineage_of_a_run_tells_its_rows_and_its_tests(done: Done) -> None:
    text = (done.lake / "export" / "openlineage.ndjson").read_text()
    events: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    _, complete, _, checked = events
    rows = [each["outputFacets"]["outputStatistics"]["rowCount"] for each in complete["outputs"]]
    assert len(rows) == 2 * 7
    assert rows[:2] == [2, 2]
    for each in checked["inputs"]:
        facet = each["inputFacets"]["dataQualityAssertions"]
        names = {found["assertion"] for found in facet["assertions"]}
        assert "reconcile" in names
        assert len(names) > 1, each["name"]
        assert all(found["success"] for found in facet["assertions"])
    for each in events:
        read_event(each)


def test_the_contract_of_a_run_tells_its_rejects(done: Done) -> None:
    contract = yaml.safe_load((done.lake / "export" / "contract.odcs.yaml").read_bytes())
    more = {each["property"]: each["value"] for each in contract["customProperties"]}
    assert more["rejectedByReason"] == {"boxes_format": 1}
    assert more["publications"]["postgres"]["rows"]["pg_sales"] == 2


def test_the_same_run_gives_the_same_bytes(done: Done) -> None:
    folder = done.lake / "export"
    before = {name: (folder / name).read_bytes() for name in DESCRIPTIONS}
    export(done.config, done.run)
    assert {name: (folder / name).read_bytes() for name in DESCRIPTIONS} == before


def test_the_artefacts_of_dbt_are_kept_without_what_is_secret(
    done: Done, servers: LocalServers
) -> None:
    password = {"the password": servers.postgres_password}
    for target in TARGETS:
        folder = Path(done.run.uri) / "dbt" / target
        assert sorted(each.name for each in folder.iterdir()) == [
            "manifest.json.gz",
            "run_results.json.gz",
        ]
        texts = [gzip.decompress(each.read_bytes()) for each in sorted(folder.iterdir())]
        manifest, results = map(json.loads, texts)
        nodes = manifest["nodes"]
        assert {each["unique_id"] for each in results["results"]} <= nodes.keys()
        assert manifest["metadata"]["dbt_schema_version"].endswith("v12.json")
        places = {"a folder": "sales-mart-dbt", "the project": str(Path(__file__).parents[2])}
        for text in texts:
            assert (
                find_in(text, {**SECRETS, **password, **places}, f"dbt's files of {target}") == []
            )
        assert sum(each.stat().st_size for each in folder.iterdir()) < 200_000


def test_no_value_of_a_row_is_in_what_a_run_leaves(done: Done) -> None:
    assert find_in_files([done.lake], SECRETS) == []
