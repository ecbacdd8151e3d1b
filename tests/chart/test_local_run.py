"""The rendered workflow, with processes for pods, gives what `sales-mart run` gives."""

from __future__ import annotations

import uuid
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from chart.local_argo import LocalArgo
from chart.rendering import objects, one
from sales_mart.config import Config
from sales_mart.steps.pipeline import run
from sales_mart.steps.summary import published_summary
from sales_mart.synthetic.generate import generate, write
from targets import Target
from warehouses import fact_table

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.servers.local import LocalServers

FILES = ("summary_sales.json", "summary_sales.csv", "summary_sales.parquet")
KEY = "Vd8nQ2rLzT6wFhJ4cYpXgB9mKs3aUeNo"
DAY = "2023-10-05"
RULES = {"validation": {"product_prefix": "Halal", "max_reject_share": 1.0}}
AFTER = ("transform", "reconcile", "publish", "export")
HALAL = Config.model_validate({"ingestion": RULES})


def _config(servers: LocalServers, lake: Path, raw: Path) -> dict[str, Any]:
    unique = uuid.uuid4().hex[:8]
    warehouse = servers.settings()["data_warehouse"]
    return {
        "data_lake": {"source": f"{raw}/*.csv", "lake": str(lake)},
        "data_warehouse": {**warehouse, "project_id": "test-project", "dataset": f"raw_{unique}"},
        "data_mart": {"dataset": f"mart_{unique}", "postgres_schema": f"shown_{unique}"},
        "ingestion": RULES,
        "security": {"algorithm": "hmac-sha256"},
    }


def _shown(config: dict[str, Any], target: Target) -> list[tuple[Any, ...]]:
    with published_summary(Config.model_validate(config), target) as (_, rows):
        return [tuple(row) for row in rows]


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
    servers: LocalServers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, str],
    pods: list[str],
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for seed in range(4):
        write(raw / f"{seed}.csv", generate(500, seed=seed, config=HALAL))
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    chosen = (Target(arguments["targets"]),) if "targets" in arguments else tuple(Target)
    alone = _config(servers, tmp_path / "alone", raw)
    run(
        Config.model_validate(alone),
        str(tmp_path / "alone"),
        business_date=date.fromisoformat(DAY),
        targets=chosen,
    )

    config = _config(servers, tmp_path / "lake", raw)
    postgres = config["data_warehouse"]["postgres"]
    secrets = {
        "postgres-credentials": {
            "user": postgres.pop("user"),
            "password": postgres.pop("password"),
        },
        "pii-hash-key": {"key": KEY},
    }
    found = objects({"config": config, "bigquery": {"secretName": ""}})
    files = one(found, "ConfigMap")["data"]
    argo = LocalArgo(one(found, "WorkflowTemplate")["spec"], tmp_path / "pods", files, secrets)
    argo.submit("sales-mart-abcde", business_date=DAY, **arguments)

    assert [name for name, *_ in argo.ran] == pods
    assert (tmp_path / "lake" / "runs" / "sales-mart-abcde" / "seal.json").exists()
    for name in FILES:
        ours = (tmp_path / "lake" / "export" / name).read_bytes()
        assert ours == (tmp_path / "alone" / "export" / name).read_bytes()
        assert len(ours) > 100
    config["data_warehouse"]["postgres"] |= {
        "user": "postgres",
        "password": servers.postgres_password,
    }
    for target in chosen:
        assert _shown(config, target) == _shown(alone, target)
        assert fact_table(target)
    # Wherever it stands within a word: `--key=` may precede it.
    words = [word for command in argo.ran for word in command]
    assert pods[0] in words
    for secret in (KEY, servers.postgres_password):
        assert not [word for word in words if secret in word]
