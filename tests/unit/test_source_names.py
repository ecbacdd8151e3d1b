"""Files by odd names and odd globs: found, or refused in our words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sales_mart.errors import ConfigurationError, NoSourceObjectError, SalesMartError
from sales_mart.lake.runs import RunFolder
from sales_mart.source.objects import _glob as glob  # pyright: ignore[reportPrivateUsage]
from sales_mart.source.objects import find_objects

ODD = (
    "a b",
    "a'b\"c",
    "100%",
    "a#b",
    "a?b",
    "[ab]",
    "a*b",
    "**",
    "{date}",
    "$(id)",
    "a\nb",
    "\\",
    "é\U0001f600",
    "-x",
    "~x",
)


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_taken_to_the_letter_when_there_is_such_a_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"{name}.csv").write_text("x")
    (tmp_path / "other.csv").write_text("x")
    path = str(folder / f"{name}.csv")
    assert [each.uri for each in find_objects([path])] == [path]
    assert [each.uri for each in find_objects([str(folder)])] == [path]


@pytest.mark.parametrize(
    "pattern", ["~nobody-of-this-name/a.csv", "x" * 5000, "{}/a**b.csv", "{}/" + "y" * 300 + "*"]
)
def test_what_cannot_be_looked_for_is_an_error_of_ours(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SalesMartError) as raised:
        find_objects([pattern.replace("{}", str(tmp_path))])
    assert isinstance(raised.value, ConfigurationError | NoSourceObjectError)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("a[!b]c", "axc", True),
        ("a[!b]c", "abc", False),
        ("[z-a]", "z", False),
        ("[\\]", "\\", True),
        ("[]]", "]", True),
        ("[", "[", True),
        ("[", "x", False),
        ("[ab].csv", "a.csv", True),
        ("[!a]b", "/b", False),
        ("a/**/b*.csv", "a/x/y/b1.csv", True),
        ("a/*.csv", "a/x/b.csv", False),
        ("a\nb*", "a\nbc", True),
        ("*.csv", "a\nb.csv", True),
        ("(a|b)+", "(a|b)+", True),
        ("(a|b)+", "ab", False),
    ],
)
def test_a_glob_of_a_bucket_means_what_a_local_one_does(
    pattern: str, name: str, *, matches: bool
) -> None:
    found: re.Pattern[str] = glob(pattern)
    assert bool(found.fullmatch(name)) is matches


@pytest.mark.parametrize("run_id", ["a\n", "\na", "a/b", "..", "", "a b", "é", "x" * 101])
def test_a_run_id_is_a_safe_name(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ConfigurationError, match="not a safe name"):
        RunFolder(str(tmp_path), run_id)
