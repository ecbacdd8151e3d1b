"""A run's folder: atomic writes, records that say what is wrong, temporary folders that go."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from sales_mart.errors import ConfigurationError
from sales_mart.lake.bucket import split_address
from sales_mart.lake.records import Mode, Plan
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import Folder, open_storage

PLAN = Plan(
    run_id="r1",
    business_date=date(2023, 10, 1),
    mode=Mode.REPLACE,
    source="x.csv",
    objects=(),
    shards=(),
    config_digest="0" * 64,
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "lake"), "r1")


def test_a_record_comes_back_as_it_was(run: RunFolder) -> None:
    assert run.find("plan", Plan) is None
    run.write("plan", PLAN)
    assert run.read("plan", Plan) == PLAN


def test_a_plan_holds_each_object_in_one_shard(run: RunFolder) -> None:
    document = json.loads(PLAN.to_json())
    for shards in ([[5]], [[-1]], [[0], [0]]):
        text = json.dumps({**document, "shards": shards})
        run.lake.write("runs/r1/plan.json", text.encode())
        with pytest.raises(ConfigurationError, match="not a record that this version can read"):
            run.read("plan", Plan)


def test_a_record_is_created_once(run: RunFolder) -> None:
    run.write("plan", PLAN, create=True)
    with pytest.raises(FileExistsError):
        run.write("plan", PLAN, create=True)


def test_a_missing_or_foreign_record_names_the_remedy(run: RunFolder) -> None:
    with pytest.raises(ConfigurationError, match="no record of 'plan'") as caught:
        run.read("plan", Plan)
    assert "sales-mart plan" in caught.value.remedy
    run.lake.write("runs/r1/plan.json", b'{"schema_version": 3}')
    with pytest.raises(ConfigurationError, match="not a record that this version can read"):
        run.read("plan", Plan)


def test_a_part_is_described_and_moved(run: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "made.parquet"
    path.write_bytes(b"abc")
    part = run.put_part("valid/0", path, 3)
    assert (part.name, part.rows, part.size) == ("valid/0-ba7816bf8f01cfea.parquet", 3, 3)
    assert part.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert not path.exists()
    path.write_bytes(b"of a later attempt")
    run.put_part("valid/0", path, 3)
    with run.lake.local(run.name(part.name)) as local:
        assert local.read_bytes() == b"abc"


def test_names_deletes_and_unfinished_files(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a/c", b"")
    folder.write("a/b", b"")
    folder.write("ab", b"")
    (tmp_path / "a" / ".x.tmp").write_text("unfinished")
    assert folder.names() == ["a/b", "a/c", "ab"]
    assert folder.names("a/") == ["a/b", "a/c"]
    assert folder.names("none/") == []
    folder.delete("a/b")
    folder.delete("a/b")
    assert folder.names("a") == ["a/c", "ab"]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)
    folder.write("x", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="could not be written: No space left") as caught:
        folder.write("x", b"new")
    assert "Make room" in caught.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert folder.read("x") == b"old"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        Folder(tmp_path / "lake").write("x", b"")


def test_addresses() -> None:
    assert split_address("gs://bucket/a/b") == ("gs", "bucket", "a/b")
    assert split_address("s3://bucket") == ("s3", "bucket", "")
    with pytest.raises(ConfigurationError, match="names no bucket") as caught:
        split_address("az:///a")
    assert caught.value.remedy == "Write it as az://bucket/prefix."
    assert isinstance(open_storage("some/folder"), Folder)


def test_a_record_can_be_forgotten(run: RunFolder) -> None:
    run.write("plan", PLAN)
    run.forget("plan", "never")
    assert run.find("plan", Plan) is None


def test_temporary_folders_of_two_attempts_at_once_stay_apart(tmp_path: Path) -> None:
    run = RunFolder(str(tmp_path), "run")
    with (
        run.temporary("seal") as first,
        RunFolder(str(tmp_path), "run").temporary("seal") as second,
    ):
        assert first != second
        (first / "rows").write_bytes(b"")
        with run.temporary("seal"):
            assert (first / "rows").exists()
            assert second.exists()
    assert list((tmp_path / "runs" / "run").iterdir()) == []


def test_temporary_of_a_killed_attempt_goes_with_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys; from sales_mart.lake.runs import RunFolder\n"
        "with RunFolder(sys.argv[1], 'run').temporary('seal') as folder:\n"
        "    (folder / 'rows').write_bytes(b'')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    temporary = tmp_path / "runs" / "run" / "temporary"
    (left,) = temporary.iterdir()
    assert (left / "rows").exists()
    with RunFolder(str(tmp_path), "run").temporary("seal") as own:
        assert list(temporary.iterdir()) == [own]
    assert not temporary.exists()
