"""The storage of `gs://` addresses against a server that speaks Google's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sales_mart.errors import TemporaryError
from sales_mart.storage import GcsPrefix, open_storage

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

    storage.put("clean/part.parquet", path)

    assert not path.exists()
    assert storage.read("clean/part.parquet") == b"rows"


def test_local_gives_a_copy_that_goes_with_the_context(gcs: str) -> None:
    storage = open_storage(gcs)
    storage.write("clean/part.parquet", b"rows")

    with storage.local("clean/part.parquet") as path:
        assert path.name == "part.parquet"
        assert path.read_bytes() == b"rows"

    assert not path.exists()


def test_a_missing_object_is_a_missing_file(gcs: str) -> None:
    storage = open_storage(gcs)

    with pytest.raises(FileNotFoundError):
        storage.read("nothing")
    with pytest.raises(FileNotFoundError), storage.local("nothing"):
        pass


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

    from sales_mart.storage import gcs_errors

    with pytest.raises(TemporaryError, match=gcs), gcs_errors(gcs):
        raise ServiceUnavailable(gcs)
