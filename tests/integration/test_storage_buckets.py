"""The storage of buckets against servers of each kind."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from faulty import Fault, http
from sales_mart.errors import ConfigurationError
from sales_mart.lake.storage import open_bucket, open_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Place


def test_what_is_written_can_be_read(bucket: str) -> None:
    storage = open_storage(f"{bucket}/some/prefix")

    storage.write("runs/a.json", b"one")
    storage.write("runs/a.json", b"two")

    assert storage.uri == f"{bucket}/some/prefix"
    assert storage.read("runs/a.json") == b"two"


def test_an_existing_object_is_not_created_again(bucket: str) -> None:
    storage = open_storage(bucket)
    storage.write("plan.json", b"first", create=True)

    with pytest.raises(FileExistsError):
        storage.write("plan.json", b"second", create=True)

    assert storage.read("plan.json") == b"first"


def test_names_are_relative_filtered_and_sorted(bucket: str) -> None:
    storage = open_storage(f"{bucket}/lake")
    for name in ("runs/b/z", "runs/b/a", "runs/a", "other"):
        storage.write(name, b"")
    open_storage(bucket).write("lakeside", b"not below the prefix")

    assert storage.names() == ["other", "runs/a", "runs/b/a", "runs/b/z"]
    assert storage.names("runs/b") == ["runs/b/a", "runs/b/z"]
    assert open_storage(bucket).names("lakes") == ["lakeside"]


def test_put_moves_a_local_file(bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(b"rows")
    storage = open_storage(f"{bucket}/lake")

    storage.put("valid/part.parquet", path)

    assert not path.exists()
    assert storage.read("valid/part.parquet") == b"rows"


def test_local_gives_a_copy_that_goes_with_the_context(bucket: str) -> None:
    storage = open_storage(bucket)
    storage.write("valid/part.parquet", b"rows")

    with storage.local("valid/part.parquet") as path:
        assert path.name == "part.parquet"
        assert path.read_bytes() == b"rows"

    assert not path.exists()


def test_a_missing_object_is_a_missing_file(bucket: str) -> None:
    storage = open_storage(bucket)

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


def test_a_pod_without_room_for_a_download_says_so(bucket: str, tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow: a disk that is full for it alone."""
    open_storage(bucket).write("part", bytes(500_000))

    def read(most: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", READ, bucket],
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


def test_delete_twice_is_fine(bucket: str) -> None:
    storage = open_storage(bucket)
    storage.write("a", b"")

    storage.delete("a")
    storage.delete("a")

    assert storage.names() == []


def test_a_missing_bucket_is_a_missing_file_or_a_matter_of_configuration(bucket: str) -> None:
    storage = open_bucket(f"{bucket}-other")
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    with pytest.raises(FileNotFoundError):
        storage.objects()
    storage.delete("a")
    with pytest.raises(ConfigurationError, match="there is no bucket"):
        storage.write("a", b"")


def test_names_that_need_escaping(bucket: str) -> None:
    storage = open_storage(f"{bucket}/la ke")
    names = sorted(["a b (1).csv", "Ä%20.csv", ".h", "#x+y&z", "l=1/part-0'\"~.csv"])
    for name in names:
        storage.write(name, name.encode())
    assert storage.names() == names
    assert [storage.read(name).decode() for name in names] == names


def test_a_large_file_is_seen_whole_or_not_at_all(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "large"
    content = os.urandom(20 << 20)
    path.write_bytes(content)
    storage = open_bucket(f"{place.uri}/lake")
    storage.put("large", path)
    (found,) = storage.objects("la")
    assert (found.name, found.size) == ("large", len(content))
    with storage.open("large", found.version) as file:
        assert b"".join(iter(lambda: file.read(1 << 20), b"")) == content
        for place_in_it in (9 << 20, 3, len(content)):
            file.seek(place_in_it)
            assert file.read(5) == content[place_in_it:][:5]
    with storage.local("large") as copy:
        assert copy.read_bytes() == content


def test_what_breaks_off_in_its_last_piece_is_not_seen(
    new_place: Callable[[str], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = new_place("s3")
    path = tmp_path / "large"
    path.write_bytes(bytes(20 << 20))
    with http(place.url) as proxy:
        for key, value in place.store.environment(proxy.url).items():
            monkeypatch.setenv(key, value)
        proxy.fault(Fault(403, "POST", "uploadId="))
        storage = open_bucket(place.uri)
        with pytest.raises(ConfigurationError, match="HTTP 403"):
            storage.put("large", path)
        assert proxy.struck
    assert path.exists()
    assert storage.names() == []


def test_one_version_is_read_or_none(bucket: str) -> None:
    storage = open_bucket(bucket)
    storage.write("a", b"one")
    (old,) = storage.objects()
    storage.write("a", b"other")
    (new,) = storage.objects()
    with storage.open("a", new.version) as file:
        assert file.read() == b"other"
    with pytest.raises(FileNotFoundError), storage.open("a", old.version) as file:
        file.read()
    storage.write("empty", b"")
    (empty,) = storage.objects("e")
    with storage.open("empty", empty.version) as file:
        assert file.read() == b""


def test_folders_are_listed_alone_and_with_all_below(bucket: str) -> None:
    storage = open_bucket(bucket)
    for name in ("in/a", "in/b/c", "in/bc", "in2/d", "i"):
        storage.write(name, b"x")
    assert [each.name for each in storage.objects("in/", direct=True)] == ["in/a", "in/bc"]
    assert storage.names("in/b") == ["in/b/c", "in/bc"]
    assert storage.names("in") == ["in/a", "in/b/c", "in/bc", "in2/d"]
    assert [each.name for each in open_bucket(f"{bucket}/in").objects(direct=True)] == ["a", "bc"]
