"""A run that is started again or twice, and two runs whose exports meet."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from chaos.site import Site
from chaos.story import STORY
from published import EXPORTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.servers.local import LocalServers

A, B = STORY[0], STORY[-1]
ROWS = 200


class Seen(NamedTuple):
    """What readers of the marts and of the exported files see."""

    postgres: str
    bigquery: str
    exported: dict[str, str]


def seen(site: Site) -> Seen:
    return Seen(site.marts("postgres"), site.marts("bigquery"), site.exported())


class Finished(NamedTuple):
    """A site whose run was started twice at once, and has ended well.

    Attributes:
        site: The site.
        run_id: The run.
        most: How many of the two processes worked at a time.
        seen: What readers saw then.
        records: Its records.
    """

    site: Site
    run_id: str
    most: int
    seen: Seen
    records: dict[str, object]


@pytest.fixture(scope="module")
def finished(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    site = Site(servers, tmp_path_factory.mktemp("at-once") / "site", 4, rows=ROWS)
    # On a busy machine a run may keep its turn for longer than a minute.
    site.environ["SALES_MART_DATA_WAREHOUSE__POSTGRES__LOCK_TIMEOUT"] = "600"
    steps = [site.start("run", *site.run_options(A)) for _ in range(2)]
    most = 0
    while any(step.is_running for step in steps):
        # `plan` comes before the turn; whoever is second finds one, and writes none. After
        # `export`, a process only shows what it has done.
        done = [set(step.done()) - {"plan"} for step in steps if step.is_running]
        most = max(most, sum(bool(each) and "export" not in each for each in done))
        time.sleep(0.05)
    assert [step.end() for step in steps] == [0, 0], [step.stderr for step in steps]
    (run_id,) = site.runs()
    return Finished(site, run_id, most, seen(site), site.records(run_id))


def manifest(site: Site) -> tuple[str, dict[str, str]]:
    """Give the run that the manifest names, and the digests that it has of the files."""
    said = json.loads((site.export / "manifest.json").read_bytes())
    return said["run_id"], {each["name"]: each["sha256"] for each in said["files"]}


def digests(site: Site) -> dict[str, str]:
    """Give the digests of the files that the manifest lists; the report tells of the run too."""
    files = [path for path in site.export.iterdir() if path.name.startswith("summary_sales.")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def at_once(site: Site, *commands: Sequence[str]) -> list[tuple[int, str]]:
    """Start commands at the same time; gives exit code and log of each."""
    steps = [site.start(*command) for command in commands]
    return [(step.end(), step.stderr) for step in steps]


def test_two_of_the_same_run_at_once_take_turns(finished: Finished) -> None:
    assert finished.most == 1, "they did not take turns"


@pytest.fixture(scope="module")
def again(finished: Finished) -> Finished:
    """Start the finished run once more, before anything else happens to the site."""
    site = finished.site
    step = site.start("run", *site.run_options(A))
    assert step.end() == 0, step.stderr
    (run_id,) = site.runs()
    assert manifest(site) == (run_id, digests(site))
    return finished._replace(seen=seen(site), records=site.records(run_id))


def test_a_finished_run_that_is_started_again_gives_the_same_bytes(
    finished: Finished, again: Finished
) -> None:
    assert again == finished
    assert finished.site.leftovers() == []


def test_exports_of_two_runs_at_once_leave_the_files_of_the_newer(again: Finished) -> None:
    site, old = again.site, again.run_id
    step = site.start("run", *site.run_options(B), "--target", "postgres")
    assert step.end() == 0, step.stderr
    (new,) = set(site.runs()) - {old}
    wanted = site.exported()
    assert manifest(site) == (new, digests(site))
    exports = [("export", "--run-id", each) for each in (old, new, new, old)]
    for name in EXPORTS:
        (site.export / name).unlink()
    ended = at_once(site, *exports)
    assert [code for code, _ in ended] == [65, 0, 0, 65], ended
    assert all("superseded" in said for code, said in ended if code)
    assert site.exported() == wanted
    assert site.leftovers() == []
