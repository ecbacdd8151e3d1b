"""Commands whose lake may be read and not written."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import yaml

from sales_mart.cli import main
from sales_mart.config.file import load_config
from sales_mart.steps.transform import transform
from support import mount_or_skip, row, sealed_run
from warehouses import POSTGRES, loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.servers.local import LocalServers


@pytest.fixture
def protect() -> Generator[Callable[[Path], str]]:
    """Yield a function that makes a folder read-only and says what the system calls that.

    Root may write wherever the disk can be written, so for root the disk can't.
    """
    with ExitStack() as undo:

        def as_root(folder: Path) -> str:
            mount_or_skip("--bind", str(folder), str(folder))
            undo.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
            return "Read-only file system"

        def as_anybody(folder: Path) -> str:
            for path in (folder, *folder.rglob("*")):
                if path.is_dir():
                    path.chmod(0o500)
                    undo.callback(path.chmod, 0o700)
            return "Permission denied"

        yield as_root if os.geteuid() == 0 else as_anybody


def test_transform_and_reconcile_say_that_the_lake_is_read_only(
    config: Config,
    servers: LocalServers,
    tmp_path: Path,
    protect: Callable[[Path], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = config.model_dump(mode="json", by_alias=True)
    settings["data_warehouse"]["postgres"]["password"] = servers.postgres_password
    settings["data_warehouse"]["targets"] = ["postgres"]
    settings["data_lake"] = {"lake": str(tmp_path / "lake")}
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    config = load_config(file, environ={})
    run = loaded(
        config, sealed_run(config, tmp_path / "lake", "r", [row("A", "2023-10-01")]), POSTGRES
    )
    transform(config, run, POSTGRES)
    why = protect(tmp_path / "lake")
    for step in ("transform", "reconcile"):
        code = main([step, "--run-id", "r", "--config", str(file), "--output", "json"])
        out, log = capsys.readouterr()
        error = json.loads(out)["error"]
        assert code == 2, log
        assert error["message"].endswith(why), error
        assert str(tmp_path / "lake") in error["message"]
        assert "make the folder writable" in error["remedy"]
        assert "Traceback" not in log
