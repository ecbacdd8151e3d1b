"""Places: what counts as one, whose credentials open it, and what its errors mean."""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sales_mart.config import Config
from sales_mart.errors import (
    ConfigurationError,
    SalesMartError,
    SourceChangedError,
    TemporaryError,
)
from sales_mart.lake.disk import disk_errors, temporary_folder
from sales_mart.lake.gcs import gcs_client
from sales_mart.lake.parquet import read_part
from sales_mart.lake.records import Part, SourceObject
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.source.listing import Listed, find_objects, list_objects
from sales_mart.source.objects import open_object
from sales_mart.steps.pipeline import run
from sales_mart.steps.plan import plan
from sales_mart.synthetic.generate import generate, write
from secrecy import everything_said

MEMORY = Path("/proc/self/mem")
SAMPLE = Path(__file__).parents[2] / "samples" / "transactions.csv"

# --- what is a place


@pytest.mark.parametrize(
    "place",
    [
        "ftp://bucket/x",
        "GS://bucket/x",
        " gs://bucket/x",
        "https://me:s3cret@host/x.csv",  # pragma: allowlist secret
        "s3://me:s3cret@bucket/x.csv",  # pragma: allowlist secret
        "gs://s3cret@bucket",
        "file:///x",
        "",
        " ",
    ],
)
def test_what_is_neither_a_path_nor_a_gs_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def look(given: str) -> object:
        return find_objects([given])

    for take in (open_storage, look):
        with pytest.raises(ConfigurationError) as caught:
            take(place)
        assert "gs://" in caught.value.remedy
        assert "s3cret" not in everything_said(caught.value).lower()
    assert list(tmp_path.iterdir()) == []


def test_a_lake_may_stand_in_one_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_storage("~/lake").uri == str(tmp_path / "lake")
    with pytest.raises(ConfigurationError, match="home folder of an unknown"):
        open_storage("~nobody-of-that-name/lake")


# --- whose credentials


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that the environment names for credentials; nothing else has any."""
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("PATH", str(tmp_path))  # no gcloud is asked
    path = tmp_path / "credentials.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


def test_credentials_need_name_no_project(credentials: Path) -> None:
    user = {"client_id": "a", "client_secret": "b", "refresh_token": "c", "type": "authorized_user"}
    credentials.write_text(json.dumps(user))
    assert open_storage("gs://bucket/lake").uri == "gs://bucket/lake"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"{}", b'{"type": "service_account"}'])
def test_credentials_that_are_none_are_a_matter_of_configuration(
    credentials: Path, content: bytes | None
) -> None:
    if content is not None:
        credentials.write_bytes(content)
    with pytest.raises(ConfigurationError, match="no usable Google credentials for gs://"):
        open_storage("gs://bucket/lake")


def test_one_client_serves_every_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    first = gcs_client()
    assert gcs_client() is first
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:10")
    other = gcs_client()
    assert other is not first
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a process that was forked
    assert gcs_client() is not other


# --- what a file system's errors mean


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EIO, TemporaryError),
        (errno.ESTALE, TemporaryError),
        (errno.ETIMEDOUT, TemporaryError),
        (errno.EAGAIN, TemporaryError),
        (errno.EACCES, ConfigurationError),
        (errno.ENOSPC, ConfigurationError),
        (errno.EROFS, ConfigurationError),
    ],
)
def test_only_what_passes_is_worth_a_retry(number: int, expected: type[SalesMartError]) -> None:
    with (
        pytest.raises(SalesMartError, match="x could not be read") as caught,
        disk_errors(Path("x"), "read"),
    ):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is expected


@pytest.fixture
def part(tmp_path: Path) -> tuple[RunFolder, Part]:
    """Return a run with a part."""
    folder = RunFolder(str(tmp_path / "lake"), "r1")
    made = tmp_path / "made.parquet"
    made.write_bytes(b"abc")
    return folder, folder.put_part("valid/0", made, 3)


def test_a_part_that_cannot_be_read_is_named(
    part: tuple[RunFolder, Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, listed = part
    real = Path.open

    def stale(path: Path, *arguments: Any) -> object:
        if path.suffix == ".parquet":
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *arguments)

    monkeypatch.setattr(Path, "open", stale)
    with pytest.raises(TemporaryError, match=r"valid/0-\w+\.parquet could not be read: Stale"):
        read_part(folder, listed)
    with pytest.raises(TemporaryError, match=r"valid/0-\w+\.parquet could not be read: Stale"):
        folder.put_part("valid/1", Path(folder.uri, listed.name), 3)


def test_a_part_that_is_gone_is_told_from_another_file_that_is(
    part: tuple[RunFolder, Part],
) -> None:
    folder, listed = part
    with pytest.raises(FileNotFoundError, match="another"), folder.sealed_part(listed):
        Path("another").read_bytes()
    Path(folder.uri, listed.name).unlink()
    for checked in (False, True):
        with pytest.raises(SourceChangedError, match=r"valid/0-\w+\.parquet of run r1 is gone"):
            read_part(folder, listed, checked=checked)


def test_a_dry_run_without_room_is_a_matter_of_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigurationError, match="could not be written"):
        run(Config(), "unused", business_date=date(2023, 10, 5), source="x", dry_run=True)


def test_a_plan_takes_no_address_for_a_folder(tmp_path: Path) -> None:
    config = Config.model_validate({"data_lake": {"source": str(SAMPLE)}})
    with pytest.raises(ConfigurationError, match="neither a path nor"):
        plan(config, f"ftp:/{tmp_path}", business_date=date(2023, 10, 5))


def test_no_room_for_temporary_files_is_a_matter_of_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(ConfigurationError, match="no folder for temporary files") as caught:
        temporary_folder("x").__enter__()
    assert "TMPDIR" in caught.value.remedy


def test_a_file_where_a_folder_has_to_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="Not a directory") as caught:
        open_storage(str(tmp_path / "file")).write("x", b"")
    assert "this one is a file" in caught.value.remedy


# --- a source that breaks while it is read


@pytest.mark.skipif(not MEMORY.exists(), reason="needs Linux")
def test_an_error_of_the_disk_in_the_middle_of_a_source_is_worth_a_retry() -> None:
    """The memory of a process opens as a file, and its first byte is an error."""
    item = SourceObject(uri=str(MEMORY), size=1, digest=f"sha256:{'0' * 64}")
    with pytest.raises(TemporaryError, match="mem could not be read"), open_object(item):
        pass


def test_a_file_that_goes_away_while_it_is_looked_at_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Listed(str(tmp_path / "in.csv"), 3)
    monkeypatch.setattr("sales_mart.source.listing.list_objects", lambda *_: [gone])  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(SourceChangedError, match=r"in\.csv disappeared"):
        find_objects([gone.uri])


def test_a_list_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.csv").write_bytes(b"abc")
    monkeypatch.setattr(Path, "open", None)
    (found,) = list_objects([str(tmp_path)])
    assert (found.size, found.version) == (3, "")


# --- what outlives a power cut


class Disk:
    """Remembers what was flushed, and what was renamed before it was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushed: set[tuple[int, int]] = set()
        self.pending: set[Path] = set()
        self.early: list[Path] = []
        flush, rename, link = os.fsync, os.replace, os.link

        def fsync(descriptor: int) -> None:
            flush(descriptor)
            found = os.fstat(descriptor)
            self.flushed.add((found.st_dev, found.st_ino))
            self.pending = {each for each in self.pending if _node(each) != _node_of(found)}

        def shown(source: str, target: str) -> None:
            if _node(Path(source)) not in self.flushed:
                self.early.append(Path(target))
            self.pending.add(Path(target).parent)

        def replaced(source: str, target: str) -> None:
            shown(source, target)
            rename(source, target)

        def linked(source: str, target: str) -> None:
            shown(source, target)
            link(source, target)

        monkeypatch.setattr(os, "fsync", fsync)
        for name, function in (("replace", replaced), ("rename", replaced), ("link", linked)):
            monkeypatch.setattr(os, name, function)


def _node_of(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _node(path: Path) -> tuple[int, int]:
    return _node_of(path.stat())


def test_whatever_is_shown_under_its_name_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    lake = open_storage(str(tmp_path / "new" / "lake"))
    lake.write("runs/r/plan.json", b"{}", create=True)
    lake.write("runs/r/plan.json", b"{ }")
    (tmp_path / "part").write_bytes(b"rows")
    lake.put("runs/r/valid/part", tmp_path / "part")
    write(tmp_path / "generated" / "a.csv", generate(5))
    assert (disk.early, disk.pending) == ([], set())
    # A folder that is new is lost with its files when the one above it is not flushed.
    made = ("new", "new/lake", "new/lake/runs", "new/lake/runs/r", "generated")
    for folder in made:
        assert _node((tmp_path / folder).parent) in disk.flushed, folder
    disk.flushed.clear()
    lake.delete("runs/r/plan.json")
    assert _node(tmp_path / "new/lake/runs/r") in disk.flushed


def test_a_file_system_that_cannot_flush_a_folder_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    lake = open_storage(str(tmp_path))
    lake.write("a", b"x")
    assert lake.read("a") == b"x"
