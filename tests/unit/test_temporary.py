"""Folders for unfinished files: nobody's are removed, and those of the dead do not pile up."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.lake.storage import Folder
from sales_mart.lake.temporary import LockedFolder, hold_folder, locked_folder
from sales_mart.servers.local import local_servers

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, sys
from pathlib import Path
from sales_mart.lake.temporary import LockedFolder
folder = LockedFolder(Path(sys.argv[1]), "work")
(folder.path / "half").write_text("half a file")
print(folder.path, flush=True)
if "kept" in sys.argv:
    folder.keep()
os.kill(os.getpid(), 9)
"""


def killed(parent: Path, *options: str) -> Path:
    """Let a process make a folder, write into it, and die."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, parent, *options],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9
    return parent / done.stdout.strip()


def test_what_a_killed_process_left_goes_with_the_next_attempt(tmp_path: Path) -> None:
    kept = killed(tmp_path, "kept")
    dead = killed(tmp_path)
    assert (dead / "half").exists()
    with locked_folder(tmp_path, "work") as alive, locked_folder(tmp_path, "work") as own:
        assert not dead.exists()
        assert alive.is_dir()
        assert own.is_dir()
        with locked_folder(tmp_path, "other*"):
            assert alive.is_dir()
    assert list(tmp_path.iterdir()) == [kept]


def test_a_child_that_inherits_the_lock_keeps_the_folder(tmp_path: Path) -> None:
    folder = LockedFolder(tmp_path, "work")
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(folder.lock,)
    ) as child:
        folder.keep()
        folder.close()
        (folder.path / ".kept").unlink()
        with locked_folder(tmp_path, "work"):
            assert folder.path.exists()
        child.kill()
    with locked_folder(tmp_path, "work"):
        assert not folder.path.exists()


def test_what_a_killed_write_left_goes_with_the_next_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    left = tmp_path / "a" / ".plan.json.dead.tmp"
    left.mkdir(parents=True)
    (left / "plan.json").write_text("half")
    assert folder.names() == []
    folder.write("a/plan.json", b"whole")
    assert folder.names() == ["a/plan.json"]
    assert not left.exists()


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with (
        hold_folder(tmp_path, 0),
        pytest.raises(TemporaryError, match="another process is working"),
        hold_folder(tmp_path, 0.1),
    ):
        pass
    with hold_folder(tmp_path, 0):
        pass


def test_kept_folders_go_after_some_days_or_when_there_are_many(tmp_path: Path) -> None:
    def kept(count: int, age: float) -> list[Path]:
        made: list[Path] = []
        for number in range(count):
            folder = LockedFolder(tmp_path, "dbt")
            folder.keep()
            folder.close()
            made.append(folder.path)
            moment = time.time() - age + number
            os.utime(folder.path / ".kept", (moment, moment))
        return made

    old = kept(2, age=7 * 86_400 + 60)
    new = kept(9, age=3600)
    other = LockedFolder(tmp_path, "dbt-other")
    other.keep()
    other.close()
    os.utime(other.path / ".kept", (0, 0))
    LockedFolder(tmp_path, "dbt").close()
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*new, other.path))
    more = kept(3, age=60)
    LockedFolder(tmp_path, "dbt").close()
    left = {path for path in (*new, *more) if path.exists()}
    assert left == {*new[2:], *more}
    # Somebody works in it still: it stays, whatever its age is.
    busy = LockedFolder(tmp_path, "dbt")
    busy.keep()
    os.utime(busy.path / ".kept", (0, 0))
    LockedFolder(tmp_path, "dbt").close()
    assert busy.path.exists()
    busy.close()


def test_the_folder_of_the_local_servers_names_who_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sales_mart.servers.local._LOCK_SECONDS", 0.1)
    none = partial(local_servers, tmp_path, postgres=False, bigquery=False)
    with (
        none(),
        pytest.raises(TemporaryError, match=f"process {os.getpid()} uses the local servers"),
        none(),
    ):
        pass
    with none():
        pass


def test_without_locks_of_the_file_system_nobody_waits_and_nothing_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = killed(tmp_path)

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    with hold_folder(tmp_path, 0), hold_folder(tmp_path, 0), locked_folder(tmp_path, "work"):
        assert dead.exists()
    with pytest.raises(ConfigurationError, match="not usable"), local_servers(tmp_path / "x"):
        pass
