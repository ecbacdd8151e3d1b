"""Servers that fail under `reconcile`, `publish` and `export`, while readers look all the time.

Readers come straight to the servers. They see the marts of the run before, whole, until they see
those of this run, whole; nothing else, and never the former again.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import pytest

from attempts import attempt, configured
from faulty import Fault, Http, Wire, http, wire
from published import (
    DESCRIPTIONS,
    EXPORTS,
    digests,
    exported_files,
    marts_query,
    match_manifest,
    state,
)
from sales_mart.lake.records import Export, Load, Publish, Reconcile
from sales_mart.steps import summary
from sales_mart.steps.export import export
from sales_mart.steps.publish import publish
from sales_mart.steps.reconcile import reconcile
from sales_mart.steps.transform import transform
from sales_mart.warehouses.bigquery import connection as bigquery
from sales_mart.warehouses.postgres import connection as postgres
from sales_mart.warehouses.postgres import reader as postgres_reader
from support import row, sealed_run
from targets import Target
from warehouses import BOTH, ask, fresh_config, loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from faulty import Cut
    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder
    from sales_mart.servers.local import LocalServers

DAYS = ("2023-10-01", "2023-10-02")
SCRIPT = "begin transaction"
PRODUCTS, PAGE = 60, 50
"""So that the summary is fetched in two pages."""
PLACES = (*BOTH, "export")


class Readers:
    """Look at both warehouses and the exported files again and again, and note what changes."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self.folder = folder
        self._ended = threading.Event()
        self._looks: dict[str, int] = dict.fromkeys(PLACES, 0)
        self.seen: dict[str, list[str]] = {place: [] for place in PLACES}
        looks = (*(partial(self._marts, target) for target in BOTH), self._export)
        self._threads = [
            threading.Thread(target=self._poll, args=each, daemon=True)
            for each in zip(PLACES, looks, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def now(self) -> dict[str, list[str]]:
        """Return all states that were seen in turn, after one more whole look at each place."""
        # The look that is under way may have begun before; the one after that has not.
        wanted = {place: looks + 2 for place, looks in self._looks.items()}
        deadline = time.monotonic() + 60
        while any(self._looks[place] < wanted[place] for place in PLACES):
            assert time.monotonic() < deadline, "a reader waits"
            time.sleep(0.01)
        return {place: list(states) for place, states in self.seen.items()}

    def _poll(self, place: str, look: Callable[[], str | None]) -> None:
        while not self._ended.is_set():
            try:
                state = look()
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is a finding
                state = f"{type(error).__name__}: {error}"
            if state is not None and self.seen[place][-1:] != [state]:
                self.seen[place].append(state)
            self._looks[place] += 1
            time.sleep(0.02)

    def _marts(self, target: Target) -> str:
        return state(ask(self._config, target, marts_query(self._config, target)))

    def _export(self) -> str | None:
        """Return the state of the files; None when the manifest says they are being replaced."""
        before, seen = exported_files(self.folder), exported_files(self.folder)
        assert seen.keys() == {*EXPORTS}
        return repr(digests(seen)) if before == seen and match_manifest(seen) else None


class Shop(NamedTuple):
    """A configuration whose marts have been shown and exported once, and prices of later runs."""

    config: Config
    lake: Path
    prices: Iterator[int]


class Site(NamedTuple):
    """Servers behind proxies, and the next run to show, which is built already."""

    straight: Config
    broken: Config
    line: Wire
    api: Http
    run: RunFolder
    amount: str
    readers: Readers


@pytest.fixture(scope="module")
def shop(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Generator[Shop]:
    """Show a first run on both warehouses and in files."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "SALES_MART_SECRETS_DIR"):
            patch.delenv(name, raising=False)
        prices = count(1)
        opened = Shop(fresh_config(servers), tmp_path_factory.mktemp("shop") / "lake", prices)
        run, _ = built(opened, products=1)
        reconcile(opened.config, run, BOTH)
        publish(opened.config, run, BOTH)
        export(opened.config, run)
        yield opened


def built(shop: Shop, products: int) -> tuple[RunFolder, str]:
    """Load a run and build its marts; gives its amount too, which no other run has."""
    price = next(shop.prices)
    rows = [
        row(f"T{n}", DAYS[n % 2], f"{price}.00")._replace(product=f"Halal Mouse {n % products}")
        for n in range(max(products, 50))
    ]
    run = sealed_run(shop.config, shop.lake, f"run-{price}", rows)
    transform(shop.config, loaded(shop.config, run), BOTH)
    return run, f"{price * len(rows)}.00"


@pytest.fixture
def site(servers: LocalServers, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Generator[Site]:
    """Build the next run, put proxies before the servers, and let readers look."""
    monkeypatch.setattr(postgres, "SERVER_SECONDS", 0.2)
    monkeypatch.setattr(postgres_reader, "PAGE", PAGE)
    monkeypatch.setattr(bigquery, "PAGE", PAGE)
    run, amount = built(shop, products=PRODUCTS)
    assert servers.postgres_port is not None
    assert servers.bigquery_endpoint is not None
    with (
        wire(servers.postgres_port) as line,
        http(servers.bigquery_endpoint) as api,
        looking(shop.config, shop.lake / "export") as readers,
    ):
        broken = configured(
            configured(shop.config, Target.POSTGRES, port=line.port, statement_timeout=5),
            Target.BIGQUERY,
            api_endpoint=api.url,
            request_timeout=6,
            job_timeout=30,
        )
        yield Site(shop.config, broken, line, api, run, amount, readers)


@contextmanager
def looking(config: Config, folder: Path) -> Generator[Readers]:
    readers = Readers(config, folder)
    try:
        yield readers
    finally:
        readers.end()


def states(site: Site) -> dict[str, int]:
    """Return how many states readers have seen by place, of which none was seen twice."""
    seen = site.readers.now()
    for place, each in seen.items():
        assert len(set(each)) == len(each) <= 2, f"{place}: {each}"
    return {place: len(each) for place, each in seen.items()}


def broken_off(site: Site, step: Callable[[], object]) -> None:
    """Run a step that meets a fault, and put the servers right again."""
    struck = site.line.struck + site.api.struck
    ended = attempt(step)
    assert site.line.struck + site.api.struck > struck
    assert ended.code == 75, ended.said
    assert ended.seconds < 60
    site.line.heal()
    site.api.heal()


def shows_the_newer(site: Site, *, exported: bool = True) -> None:
    """Check that readers went from the older run to the newer one, which is all there."""
    assert states(site) == {**dict.fromkeys(BOTH, 2), "export": 1 + exported}
    for target in BOTH:
        sequence = site.run.read(f"load-{target}", Load).sequence
        with summary.published_summary(site.straight, target) as (shown, rows):
            assert (shown, str(sum(each[2] for each in rows))) == (sequence, site.amount)


def reconcile_breaks_off(site: Site) -> None:
    def step() -> object:
        return reconcile(site.broken, site.run, BOTH)

    only_older = dict.fromkeys(PLACES, 1)
    wires: tuple[tuple[bytes, Cut], ...] = (
        (b"repeatable read", "drop"),
        (b"as row_count", "mute"),
    )
    for mark, cut in wires:
        site.line.fault(mark, cut)
        broken_off(site, step)
        assert states(site) == only_older, (mark, cut)
    faults = (
        Fault("drop", "POST", body="load_runs"),
        Fault("mute", "POST", body="as row_count"),
        Fault(503, "POST", body="as row_count"),
    )
    for fault in faults:
        site.api.fault(fault)
        broken_off(site, step)
        assert states(site) == only_older, fault
    assert site.run.find("reconcile", Reconcile) is None
    assert attempt(lambda: publish(site.straight, site.run, BOTH)).code == 2
    assert states(site) == only_older
    assert attempt(step).code == 0
    assert states(site) == only_older


def publish_breaks_off(site: Site) -> None:
    def step() -> object:
        return publish(site.broken, site.run, BOTH)

    shown = dict.fromkeys(PLACES, 1)
    cuts: tuple[Cut, ...] = ("drop", "mute", "lose answer")
    for cut in cuts:
        # The first commit is of the session's settings.
        site.line.fault(b"COMMIT", cut, skip=1)
        broken_off(site, step)
        shown[Target.POSTGRES] = 2 if cut == "lose answer" else 1
        assert states(site) == shown, cut
    for then in ("drop", 503, "lose answer"):
        site.api.fault(Fault(then, "POST", "/jobs", SCRIPT))
        broken_off(site, step)
        shown[Target.BIGQUERY] = 2 if then == "lose answer" else 1
        assert states(site) == shown, then
    assert site.run.find("publish", Publish) is None
    assert attempt(step).code == 0
    shows_the_newer(site, exported=False)


def export_breaks_off(site: Site) -> None:
    """The summary has two pages, and its source goes away between them."""

    def step(source: Target) -> object:
        warehouse = site.broken.data_warehouse.model_copy(update={"targets": (source,)})
        config = site.broken.model_copy(update={"data_warehouse": warehouse})
        return export(config, site.run)

    shown = {**dict.fromkeys(BOTH, 2), "export": 1}
    cuts: tuple[Cut, ...] = ("drop", "mute")
    for cut in cuts:
        site.line.fault(b"FETCH", cut, skip=1)
        broken_off(site, lambda: step(Target.POSTGRES))
        assert states(site) == shown, cut
    for then in ("drop", "truncate", "mute"):
        site.api.fault(Fault(then, "GET", "pageToken"))
        broken_off(site, lambda: step(Target.BIGQUERY))
        assert states(site) == shown, then
    assert site.run.find("export", Export) is None
    assert sorted(path.name for path in site.readers.folder.iterdir()) == sorted(
        (*EXPORTS, *DESCRIPTIONS)
    )
    for source in BOTH:  # the second one writes the same bytes
        assert attempt(lambda source=source: step(source)).code == 0
    shows_the_newer(site)
    manifest = json.loads((site.readers.folder / "manifest.json").read_text())
    assert manifest["run_id"] == site.run.run_id


def test_readers_while_each_step_breaks_off(site: Site) -> None:
    """One run, since building it is what takes long."""
    reconcile_breaks_off(site)
    publish_breaks_off(site)
    export_breaks_off(site)
