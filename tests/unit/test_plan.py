"""Which objects make a run, how they are grouped, and what a run id stands for."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_mart.config import Config
from sales_mart.errors import ConfigurationError, NoSourceObjectError
from sales_mart.lake.records import Mode, Plan
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.plan import plan
from sales_mart.steps.shards import _grouped  # pyright: ignore[reportPrivateUsage]

DAY = date(2023, 10, 1)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    for name in ("b.csv", "a.csv", "Z.csv.gz", "note.md", "2023-10-01/x.csv", "2023-10-02/x.csv"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def names(made: object, folder: Path) -> list[str]:
    objects = made.objects  # pyright: ignore[reportAttributeAccessIssue]
    return [item.uri.removeprefix(f"{folder}/") for item in objects]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ["Z.csv.gz", "a.csv", "b.csv"]),
        ("/*.csv", ["a.csv", "b.csv"]),
        ("/a.csv", ["a.csv"]),
        ("/**/x.csv", ["2023-10-01/x.csv", "2023-10-02/x.csv"]),
        ("/{date}", ["2023-10-01/x.csv"]),
        ("/{date}/*.csv", ["2023-10-01/x.csv"]),
    ],
)
def test_files_folders_and_globs(
    files: Path, tmp_path: Path, source: str, expected: list[str]
) -> None:
    made = plan(Config(), str(tmp_path / "lake"), business_date=DAY, source=f"{files}{source}")
    assert names(made, files) == expected
    assert made.mode is (Mode.APPEND if "{date}" in source else Mode.REPLACE)


def test_several_sources_are_one_in_code_point_order(files: Path, tmp_path: Path) -> None:
    source = [f"{files}/b.csv", str(files), f"{files}/a.csv"]
    made = plan(Config(), str(tmp_path / "lake"), business_date=DAY, source=source)
    assert names(made, files) == ["Z.csv.gz", "a.csv", "b.csv"]


def test_a_file_of_several_names_is_one(files: Path, tmp_path: Path) -> None:
    (files / "link.csv").symlink_to(files / "a.csv")
    source = [f"{files}/../raw/a.csv", f"{files}/a.csv", f"{files}/*.csv"]
    made = plan(Config(), str(tmp_path / "lake"), business_date=DAY, source=source)
    assert [Path(each.uri).name for each in made.objects] == ["a.csv", "b.csv"]


def test_no_object_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoSourceObjectError, match="no object matches"):
        plan(Config(), str(tmp_path / "lake"), business_date=DAY, source=f"{tmp_path}/*.csv")
    assert not (tmp_path / "lake").exists()


def test_the_derived_run_id_follows_inputs_date_and_configuration(
    files: Path, tmp_path: Path
) -> None:
    lake = str(tmp_path / "lake")
    source = f"{files}/a.csv"
    stricter = Config.model_validate({"ingestion": {"validation": {"max_quantity": 5}}})

    def run_id(config: Config, day: date) -> str:
        return plan(config, lake, business_date=day, source=source).run_id

    first = run_id(Config(), DAY)
    others = {run_id(stricter, DAY), run_id(Config(), date(2023, 10, 2))}
    assert run_id(Config(), DAY) == first
    (files / "a.csv").write_text("other")
    assert len({first, *others, run_id(Config(), DAY)}) == 4


def test_a_known_run_id_with_other_inputs_or_configuration_is_refused(
    files: Path, tmp_path: Path
) -> None:
    lake = str(tmp_path / "lake")

    def planned(source: str, config: Config | None = None) -> object:
        return plan(
            config or Config(), lake, business_date=DAY, source=f"{files}/{source}", run_id="r1"
        )

    assert planned("a.csv") == planned("a.csv")
    with pytest.raises(ConfigurationError, match="r1 already has other inputs"):
        planned("b.csv")
    other = Config.model_validate({"ingestion": {"trust_input": True}})
    with pytest.raises(ConfigurationError, match="r1 already has another configuration"):
        planned("a.csv", other)


def test_files_that_were_moved_are_the_same_run_in_its_new_place(
    files: Path, tmp_path: Path
) -> None:
    lake = str(tmp_path / "lake")
    before = plan(Config(), lake, business_date=DAY, source=f"{files}/*.csv")
    (files / "archive").mkdir()
    for name in ("a.csv", "b.csv"):
        (files / name).rename(files / "archive" / name)
    (files / "a.csv").write_text("something else")
    after = plan(Config(), lake, business_date=DAY, source=f"{files}/archive/*.csv")
    assert after.run_id == before.run_id
    assert names(after, files) == ["archive/a.csv", "archive/b.csv"]
    assert RunFolder(lake, after.run_id).read("plan", Plan) == after


def test_mode_must_go_with_the_source(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="mode append does not fit this snapshot"):
        plan(Config(), str(tmp_path), business_date=DAY, source=f"{files}/a.csv", mode=Mode.APPEND)


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".hidden", "x" * 101, "a b"])
def test_a_run_id_is_a_safe_name(files: Path, tmp_path: Path, run_id: str) -> None:
    if not run_id:
        return
    with pytest.raises(ConfigurationError, match="not a safe name"):
        plan(Config(), str(tmp_path), business_date=DAY, source=str(files), run_id=run_id)


def _shards(sizes: list[int], count: int) -> tuple[tuple[int, ...], ...]:
    return _grouped(list(enumerate(sizes)), count)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.integers(1, 60))
def test_shards_keep_the_order_and_every_object(sizes: list[int], count: int) -> None:
    groups = _shards(sizes, count)
    assert [ordinal for group in groups for ordinal in group] == list(range(len(sizes)))
    assert len(groups) <= count
    assert all(groups)


def test_shards_have_about_equal_bytes() -> None:
    assert _shards([100] * 6, 3) == ((0, 1), (2, 3), (4, 5))
    assert _shards([100] * 6, 1) == ((0, 1, 2, 3, 4, 5),)
    assert _shards([500, 100, 100, 100, 100, 100], 2) == ((0,), (1, 2, 3, 4, 5))
