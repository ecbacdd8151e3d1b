"""The storage of `gs://` addresses against a server that speaks Google's API."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sales_mart.errors import TemporaryError
from sales_mart.lake.gcs import GcsPrefix
from sales_mart.lake.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_written_can_be_read(gcs: str) -> None:
    storage = open_storage(f"{gcs}/some/prefix")

    storage.write("runs/a.json", b"one")
    storage.write("runs/a.json", b"two")

    assert storage.uri == f"{gcs}/some/prefix"
    assert storage.read("runs/a.json") == b"two"


def test_an_existing_object_is_not_created_again(gcs: str) -> None:
    storage = open_storage(gcs)
    storage.write("plan.json", b"first", create=True)

    with pytest.raises(FileExistsError):
        storage.write("plan.json", b"second", create=True)

    assert storage.read("plan.json") == b"first"


def test_names_are_relative_filtered_and_sorted(gcs: str) -> None:
    storage = open_storage(f"{gcs}/lake")
    for name in ("runs/b/z", "runs/b/a", "runs/a", "other"):
        storage.write(name, b"")
    open_storage(gcs).write("lakeside", b"not below the prefix")

    assert storage.names() == ["other", "runs/a", "runs/b/a", "runs/b/z"]
    assert storage.names("runs/b") == ["runs/b/a", "runs/b/z"]
    assert open_storage(gcs).names("lakes") == ["lakeside"]


def test_put_moves_a_local_file(gcs: str, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"rows")
    storage = open_storage(f"{gcs}/lake")

    storage.put("valid/part.parquet", path)

    assert not path.exists()
    assert storage.read("valid/part.parquet") == b"rows"


def test_local_gives_a_copy_that_goes_with_the_context(gcs: str) -> None:
    storage = open_storage(gcs)
    storage.write("valid/part.parquet", b"rows")

    with storage.local("valid/part.parquet") as path:
        assert path.name == "part.parquet"
        assert path.read_bytes() == b"rows"

    assert not path.exists()


def test_a_missing_object_is_a_missing_file(gcs: str) -> None:
    storage = open_storage(gcs)

    with pytest.raises(FileNotFoundError):
        storage.read("nothing")
    with pytest.raises(FileNotFoundError), storage.local("nothing"):
        pass


READ = """
import sys
from sales_mart.errors import SalesMartError
from sales_mart.lake.storage import open_storage
try:
    with open_storage(sys.argv[1]).local("part"):
        print("it was read")
except SalesMartError as error:
    print(error.exit_code, error.message, error.remedy)
"""


def test_a_pod_without_room_for_a_download_says_so(gcs: str, tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow: a disk that is full for it alone."""
    open_storage(gcs).write("part", bytes(500_000))

    def read(most: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", READ, gcs],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = read(100_000)
    assert said.startswith(f"2 {tmp_path}/")
    assert "could not be written: File too large" in said
    assert "Make room" in said
    assert list(tmp_path.iterdir()) == []
    assert read(1_000_000) == "it was read\n"


def test_delete_twice_is_fine(gcs: str) -> None:
    storage = open_storage(gcs)
    storage.write("a", b"")

    storage.delete("a")
    storage.delete("a")

    assert storage.names() == []


def test_a_missing_bucket_is_a_missing_file(gcs: str) -> None:
    with pytest.raises(FileNotFoundError):
        GcsPrefix(f"{gcs}-other").read("a")


def test_an_error_of_the_server_is_temporary(gcs: str) -> None:
    from google.api_core.exceptions import ServiceUnavailable

    from sales_mart.lake.gcs import gcs_errors

    with pytest.raises(TemporaryError, match=gcs), gcs_errors(gcs):
        raise ServiceUnavailable(gcs)
