"""The rendered workflow, with processes for pods, gives what `sales-mart run` gives."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from chart.local_argo import LocalArgo
from chart.rendering import objects, one
from sales_mart.config import Config
from sales_mart.steps.pipeline import run
from sales_mart.steps.summary import published_summary
from sales_mart.synthetic.generate import generate, write
from targets import Target
from warehouses import PROJECT, Schemas, fact_table

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

FILES = ("summary_sales.json", "summary_sales.csv", "summary_sales.parquet")
KEY = "Vd8nQ2rLzT6wFhJ4cYpXgB9mKs3aUeNo"
DAY = "2023-10-05"
RULES = {"validation": {"product_prefix": "Halal", "max_reject_share": 1.0}}
AFTER = ("transform", "reconcile", "publish", "export")
HALAL = Config.model_validate({"ingestion": RULES})


class Alone(NamedTuple):
    """What one process has done: where, by which configuration, with its input and its lake."""

    servers: LocalServers
    config: dict[str, Any]
    folder: Path


def _config(servers: LocalServers, lent: Config, lake: Path, raw: Path) -> dict[str, Any]:
    warehouse = servers.settings()["data_warehouse"]
    named = {"project_id": PROJECT, "dataset": lent.data_warehouse.dataset}
    marts = lent.data_mart
    return {
        "data_lake": {"source": f"{raw}/*.csv", "lake": str(lake)},
        "data_warehouse": warehouse | named,
        "data_mart": {"dataset": marts.dataset, "postgres_schema": marts.postgres_schema},
        "ingestion": RULES,
        "security": {"algorithm": "hmac-sha256"},
    }


def _shown(config: dict[str, Any], target: Target) -> list[tuple[Any, ...]]:
    with published_summary(Config.model_validate(config), target) as (_, rows):
        return [tuple(row) for row in rows]


@pytest.fixture(scope="module")
def alone(
    servers: LocalServers, schemas: Schemas, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Alone]:
    """Run four files in one process."""
    folder = tmp_path_factory.mktemp("alone")
    raw = folder / "raw"
    raw.mkdir()
    for seed in range(4):
        write(raw / f"{seed}.csv", generate(500, seed=seed, config=HALAL))
    with schemas.config() as lent:
        config = _config(servers, lent, folder / "lake", raw)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PII_HASH_KEY", KEY)
            day = date.fromisoformat(DAY)
            checked = Config.model_validate(config)
            run(checked, str(folder / "lake"), business_date=day, targets=tuple(Target))
        yield Alone(servers, config, folder)


@pytest.mark.parametrize(
    ("arguments", "pods"),
    [
        (
            {"shards": "3", "layout": "steps"},
            ["plan", *["validate"] * 3, "seal", "load-postgres", "load-bigquery", *AFTER],
        ),
        (
            {"targets": "postgres", "layout": "steps"},
            ["plan", "validate", "seal", "load-postgres", *AFTER],
        ),
        ({}, ["plan", "run"]),
    ],
    ids=["three shards", "postgres alone", "one pod"],
)
def test_the_rendered_commands_give_what_one_process_gives(
    alone: Alone,
    config: Config,
    tmp_path: Path,
    arguments: dict[str, str],
    pods: list[str],
) -> None:
    servers = alone.servers
    chosen = (Target(arguments["targets"]),) if "targets" in arguments else tuple(Target)
    told = _config(servers, config, tmp_path / "lake", alone.folder / "raw")
    postgres = told["data_warehouse"]["postgres"]
    secrets = {
        "postgres-credentials": {
            "user": postgres.pop("user"),
            "password": postgres.pop("password"),
        },
        "pii-hash-key": {"key": KEY},
    }
    found = objects({"config": told, "bigquery": {"secretName": ""}})
    files = one(found, "ConfigMap")["data"]
    argo = LocalArgo(one(found, "WorkflowTemplate")["spec"], tmp_path / "pods", files, secrets)
    argo.submit("sales-mart-abcde", business_date=DAY, **arguments)

    assert [name for name, *_ in argo.ran] == pods
    assert (tmp_path / "lake" / "runs" / "sales-mart-abcde" / "seal.json").exists()
    for name in FILES:
        ours = (tmp_path / "lake" / "export" / name).read_bytes()
        assert ours == (alone.folder / "lake" / "export" / name).read_bytes()
        assert len(ours) > 100
    told["data_warehouse"]["postgres"] |= {
        "user": "postgres",
        "password": servers.postgres_password,
    }
    for target in chosen:
        assert _shown(told, target) == _shown(alone.config, target)
        assert fact_table(target)
    # Wherever it stands within a word: `--key=` may precede it.
    words = [word for command in argo.ran for word in command]
    assert pods[0] in words
    for secret in (KEY, servers.postgres_password):
        assert not [word for word in words if secret in word]
