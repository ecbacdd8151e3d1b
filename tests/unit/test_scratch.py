"""Folders for unfinished files: nobody's are removed, and those of the dead do not pile up."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sales_mart.errors import TemporaryError
from sales_mart.lake.storage import Folder
from sales_mart.lake.temporary import ScratchFolder, hold_folder, scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

KILLED = """
import os, sys
from pathlib import Path
from sales_mart.lake.temporary import ScratchFolder
folder = ScratchFolder(Path(sys.argv[1]), "work")
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
    with scratch_folder(tmp_path, "work") as alive, scratch_folder(tmp_path, "work") as own:
        assert not dead.exists()
        assert alive.is_dir()
        assert own.is_dir()
        with scratch_folder(tmp_path, "other*"):
            assert alive.is_dir()
    assert list(tmp_path.iterdir()) == [kept]


def test_a_child_that_inherits_the_lock_keeps_the_folder(tmp_path: Path) -> None:
    folder = ScratchFolder(tmp_path, "work")
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(folder.lock,)
    ) as child:
        folder.keep()
        folder.close()
        (folder.path / ".kept").unlink()
        with scratch_folder(tmp_path, "work"):
            assert folder.path.exists()
        child.kill()
    with scratch_folder(tmp_path, "work"):
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
        pytest.raises(TemporaryError, match="another process works"),
        hold_folder(tmp_path, 0.1),
    ):
        pass
    with hold_folder(tmp_path, 0):
        pass
