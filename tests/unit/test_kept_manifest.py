"""The parsed dbt project that is kept: it gives what a fresh parse gives, or is made again."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sales_mart.config import Config
from sales_mart.dbt_runner import kept_manifest
from sales_mart.steps.transform import transform_sql
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS: dict[str, Any] = {"data_warehouse": {"dataset": "raw_kept"}}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of one's own for manifests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sales-mart" / "dbt"


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    """Change a kept manifest so that its digest is right."""
    data = path.read_bytes()[32:].replace(old, new)
    path.write_bytes(hashlib.sha256(data).digest() + data)


@pytest.mark.parametrize("target", list(Target))
def test_it_gives_the_statements_of_a_fresh_parse(target: Target, own: Path) -> None:
    config = Config.model_validate(SETTINGS)
    fresh = transform_sql(config, target)
    assert len(list(own.iterdir())) == 1
    assert own.stat().st_mode & 0o077 == 0
    assert transform_sql(config, target) == fresh


def test_one_that_is_damaged_or_writable_by_others_is_made_again(own: Path) -> None:
    config = Config.model_validate(SETTINGS)
    target = Target.POSTGRES
    fresh = transform_sql(config, target)
    (kept,) = own.iterdir()
    # It is read: what stands in it is what is compiled.
    rewritten(kept, b"from days", b"from DAYS")
    assert transform_sql(config, target) != fresh
    kept.write_bytes(kept.read_bytes()[:-1] + b"\0")
    assert transform_sql(config, target) == fresh
    rewritten(kept, b"from days", b"from DAYS")
    own.chmod(0o777)
    assert transform_sql(config, target) == fresh


def test_another_configuration_is_parsed_by_itself(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "extra.sql").write_text("select 1 as one")
    settings = SETTINGS | {"transformation": {"models_path": str(folder)}}
    config = Config.model_validate(settings)
    assert "select 1" in transform_sql(config, "postgres")["extra"]
    (folder / "extra.sql").write_text("select 2 as two")
    assert "select 2" in transform_sql(config, "postgres")["extra"]
    assert len(list(own.iterdir())) == 2


def test_a_variable_that_a_model_asks_for_counts(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "extra.sql").write_text("{{ config(alias=env_var('ALIAS', 'none')) }} select 1 as a")
    (folder / "more.sql").write_text("select * from {{ ref('extra') }}")
    settings = SETTINGS | {"transformation": {"models_path": str(folder)}}
    config = Config.model_validate(settings)
    for alias in ("one", "two"):
        monkeypatch.setenv("ALIAS", alias)
        assert f'"{alias}"' in transform_sql(config, "postgres")["more"]
    monkeypatch.delenv("ALIAS")
    assert '"none"' in transform_sql(config, "postgres")["more"]
    # It would hold the value, which may be a secret.
    assert not own.exists() or not list(own.iterdir())


def test_what_differs_from_parse_to_parse_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "models" / "own" / "logs").mkdir(parents=True)
    model = tmp_path / "models" / "own" / "logs" / "extra.sql"
    model.write_text("select 1 as one")
    first = kept_manifest.digest_of(tmp_path, [])
    model.write_text("select 2 as two")
    assert first is not None
    assert kept_manifest.digest_of(tmp_path, []) not in (first, None)
    model.write_text("{{ config(enabled=run_started_at.weekday() == 0) }} select 1 as one")
    assert kept_manifest.digest_of(tmp_path, []) is None


def test_the_latest_are_kept(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Manifest:
        env_vars: ClassVar[dict[str, str]] = {}

        def to_msgpack(self, _: object) -> bytes:
            return b"x"

    monkeypatch.setattr(kept_manifest, "MOST_KEPT", 3)
    for number in range(5):
        kept_manifest.keep(f"{number}", Manifest())
        os.utime(own / f"{number}", (number, number))
    assert {path.name for path in own.iterdir()} >= {"3", "4"}
    assert len(list(own.iterdir())) == 3
