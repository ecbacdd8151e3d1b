"""Files by odd names and odd globs: found, or refused in our words."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from sales_mart.errors import ConfigurationError, NoSourceObjectError, SalesMartError
from sales_mart.lake.runs import RunFolder
from sales_mart.source.listing import _glob as glob  # pyright: ignore[reportPrivateUsage]
from sales_mart.source.listing import find_objects

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


# --- what is there and not read


@pytest.fixture
def delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with two files that are read, and others that are not."""
    folder = tmp_path / "in"
    (folder / "older.csv").mkdir(parents=True)
    for name in ("a.csv", "B.CSV", ".hidden.csv", "~$a.csv", "note\x1b[2J.md"):
        (folder / name).write_text("x")
    os.mkfifo(folder / "pipe.csv")
    monkeypatch.chdir(folder)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.csv")
    (folder / "link.csv").symlink_to(folder / "pipe.csv")
    return folder


@pytest.mark.parametrize(
    ("pattern", "read", "named"),
    [
        ("", "B.CSV a.csv", "link older pipe socket .hidden ~$a note\\x1b[2J.md"),
        ("/*.csv", "a.csv", "link older pipe socket .hidden ~$a"),
        ("/[a-z]*", "a.csv note\x1b[2J.md", "link older pipe socket"),
    ],
)
def test_every_entry_that_is_not_read_is_named(
    delivery: Path, pattern: str, read: str, named: str
) -> None:
    warnings: list[str] = []
    found = find_objects([f"{delivery}{pattern}"], warnings.append)
    assert [Path(each.uri).name for each in found] == read.split()
    [warning] = warnings
    assert "\x1b" not in warning
    for name in named.split():
        assert f"{delivery}/{name}" in warning
    assert warning.count(" (") == len(named.split())
    for kind in ("older.csv (a folder)", "pipe.csv (a named pipe)", "socket.csv (a socket)"):
        assert kind in warning


def test_a_pipe_that_is_all_there_is_says_so(delivery: Path) -> None:
    with pytest.raises(NoSourceObjectError, match=r"not read: .*pipe\.csv \(a named pipe\)"):
        find_objects([f"{delivery}/pipe.csv"])


def test_only_so_many_entries_are_named(tmp_path: Path) -> None:
    for number in range(1030):
        (tmp_path / f"{number}.md").touch()
    (tmp_path / "a.csv").touch()
    warnings: list[str] = []
    find_objects([str(tmp_path)], warnings.append)
    assert warnings[0].endswith(" and 1,010 more")


@pytest.mark.parametrize("target", ["nowhere.csv", "b.csv", "a.csv/x"])
@pytest.mark.parametrize("pattern", ["", "/*.csv", "/b.csv", "/../*/b.csv", "/../**/b*"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, target: str, pattern: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("x")
    (folder / "b.csv").symlink_to(target)
    with pytest.raises(NoSourceObjectError, match=r"b\.csv is a broken link") as caught:
        find_objects([f"{folder}{pattern}"])
    assert caught.value.exit_code == 65


def test_a_folder_of_a_glob_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    for shop in ("1", "2"):
        (tmp_path / shop).mkdir()
        (tmp_path / shop / "a.csv").write_text("x")
    (tmp_path / "3").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(NoSourceObjectError, match="3 is a broken link"):
        find_objects([f"{tmp_path}/*/a.csv"])
    (tmp_path / "3").unlink()
    (tmp_path / "3").symlink_to(tmp_path / "2")
    warnings: list[str] = []
    assert len(find_objects([f"{tmp_path}/**/*.csv"], warnings.append)) == 2
    assert "3 (a link to a folder, which ** does not follow)" in warnings[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.csv").write_text("x")
    (tmp_path / "closed").mkdir(mode=0o000)
    for pattern in ("*/*.csv", "**/*.csv", "*/a.csv"):
        with pytest.raises(ConfigurationError, match="Permission denied"):
            find_objects([f"{tmp_path}/{pattern}"])
