"""`doctor` against real servers: it finds what is wrong, and leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from sales_mart.config import Config
from sales_mart.config.keys import keys
from sales_mart.names import raw_schema
from sales_mart.steps.doctor import Report, examine
from targets import Target
from warehouses import mart_schema, next_schema

if TYPE_CHECKING:
    from pathlib import Path

KEY = "q7Rk2vTzX9mLwYb4NcHd8sGfJ3pVuEa6"


def look(config: Config) -> tuple[Report, dict[str, str]]:
    """Examine a configuration; give the report and the status of each check."""
    origins = {key.dotted: "command line" for key in keys().values()}
    report = examine(lambda: (config, origins), "2023-10-05")
    return report, {check.name: check.status for check in report.checks}


def changed(config: Config, **sections: dict[str, object]) -> Config:
    """Return the configuration with other values in some sections."""
    document = config.model_dump(mode="python", by_alias=True)
    postgres = config.data_warehouse.postgres
    assert postgres.password is not None
    document["data_warehouse"]["postgres"]["password"] = postgres.password.get_secret_value()
    for name, values in sections.items():
        place = document
        for part in name.split("__"):
            place = place[part]
        place.update(values)
    return Config.model_validate(document)


@pytest.fixture
def ready(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return a configuration in which nothing is wrong."""
    monkeypatch.setenv("PII_HASH_KEY", KEY)
    source = tmp_path / "in" / "2023-10-05.csv"
    source.parent.mkdir()
    source.write_text("transaction_id,product,price,quantity,date\n")
    return changed(
        config,
        data_lake={"lake": str(tmp_path / "lake"), "source": str(tmp_path / "in" / "{date}.csv")},
        security={"algorithm": "hmac-sha256"},
    )


def test_all_is_well(ready: Config, postgres_server: str) -> None:
    report, status = look(ready)
    assert set(status.values()) == {"ok"}, report.checks
    assert report.exit_code == 0
    assert {"key", "lake", "source", "postgres", "postgres rights", "bigquery"} <= set(status)
    text = report.model_dump_json()
    assert "PostgreSQL 18" in text
    assert KEY not in text
    with psycopg.connect(postgres_server) as connection:
        rows = connection.execute("select nspname from pg_namespace").fetchall()
    schemas = {row[0] for row in rows}
    assert raw_schema(ready) not in schemas
    assert mart_schema(ready, Target.POSTGRES) not in schemas
    assert next_schema(ready, Target.POSTGRES) not in schemas


def test_a_server_that_does_not_answer_is_temporary(ready: Config) -> None:
    away = changed(ready, data_warehouse__postgres={"port": 9, "connect_timeout": 2})
    report, status = look(away)
    assert report.exit_code == 75
    assert status["postgres"] == "fail"
    assert status["bigquery"] == "ok"


def test_a_wrong_password_is_a_matter_of_configuration(ready: Config) -> None:
    report, status = look(changed(ready, data_warehouse__postgres={"password": "s3cret"}))
    assert report.exit_code == 2
    assert status["postgres"] == "fail"
    assert "s3cret" not in report.model_dump_json()


def test_missing_rights_are_found(ready: Config, postgres_server: str) -> None:
    role = f"role_{raw_schema(ready)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'pw'")  # pyright: ignore[reportArgumentType, reportCallIssue]
        limited = changed(ready, data_warehouse__postgres={"user": role, "password": "pw"})
        report, status = look(limited)
        connection.execute(f"drop role {role}")  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert report.exit_code == 2
    failed = [check for check in report.checks if check.status == "fail"]
    assert [check.name for check in failed] == ["postgres"]
    assert failed[0].remedy
    assert status["bigquery"] == "ok"


def test_a_source_without_objects_is_found(ready: Config, tmp_path: Path) -> None:
    report, status = look(changed(ready, data_lake={"source": str(tmp_path / "{date}" / "*.csv")}))
    assert report.exit_code == 65
    assert status["source"] == "fail"


def test_a_missing_key_and_a_bad_lake_are_both_told(
    ready: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PII_HASH_KEY")
    (tmp_path / "file").write_text("")
    report, status = look(changed(ready, data_lake={"lake": str(tmp_path / "file" / "lake")}))
    assert report.exit_code == 2
    assert (status["key"], status["lake"]) == ("fail", "fail")
    assert all(check.remedy for check in report.checks if check.status != "ok")
