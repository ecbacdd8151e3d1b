"""Random histories of loads, and "the latest delivery of each day" in plain Python."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from sales_mart.errors import SalesMartError
from sales_mart.lake.records import Load, Mode
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.steps.load import load
from sales_mart.warehouses.admission import LoadOptions
from support import Row, row, sealed_run, token
from warehouses import asked, raw_table, table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from sales_mart.config import Config
    from sales_mart.lake.runs import RunFolder

DAYS: tuple[str, ...] = ("2023-10-01", "2023-10-02", "2023-10-03", "2023-10-04")
IDENTIFIERS = tuple(f"T{number}" for number in range(5))
KEYS = ("sha256", "0123abcd")
QUANTITIES = (5, 10, 100)
PREFIXES = ("", "Hal", "Halal")
KEPT_SHARE = 0.5
_numbers = count(1)


@dataclass(frozen=True)
class Step:
    """One load: a delivery or a snapshot, by which rules and key, and what the user says."""

    mode: Mode
    day: str
    rows: dict[str, tuple[str, str]]
    """Identifier -> sale date and price."""
    rejects: dict[str, int] = field(default_factory=dict[str, int])
    key: str = KEYS[0]
    max_quantity: int = QUANTITIES[0]
    product_prefix: str = PREFIXES[-1]
    share: float = 1.0
    allow_empty: bool = False
    accept_key: bool = False
    accept_rules: bool = False
    again: int | None = None
    """Load the run of an earlier step once more, asked for by its id."""

    @property
    def values(self) -> list[Row]:
        """Return the valid rows."""
        return [row(name, day, price) for name, (day, price) in self.rows.items()]


class Version(NamedTuple):
    """A row as it stands in the raw table."""

    transaction_id: str
    price: str
    sale_date: str
    business_date: str
    superseded_by: str | None

    @property
    def sale_day(self) -> date:
        """Return the sale date as a date."""
        return date.fromisoformat(self.sale_date)


@dataclass
class Seen:
    """A load that still counts, and how loose the rules were that were accepted since."""

    step: Step
    quantities: list[int] = field(default_factory=list[int])
    prefixes: list[str] = field(default_factory=list[str])


class Oracle:
    """The truth: the last snapshot, and the latest delivery of each day after it."""

    def __init__(self) -> None:
        self.snapshot: Seen | None = None
        self.days: dict[str, Seen] = {}
        self.last: Step | None = None
        self.last_number: int | None = None
        self.loaded: frozenset[int] = frozenset()

    def versions(self) -> set[Version]:
        """Return every row of the raw table, superseded ones too."""
        found: dict[str, list[tuple[str, int, str, str]]] = {}
        sources = [(seen.step, 1) for seen in self.days.values()]
        if self.snapshot:
            sources.append((self.snapshot.step, 0))
        for step, rank in sources:
            for name, (day, price) in step.rows.items():
                found.setdefault(name, []).append((step.day, rank, day, price))
        rows: set[Version] = set()
        for name, each in found.items():
            ordered = sorted(each)
            marks = [*(later[0] for later in ordered[1:]), None]
            for (business, _, day, price), mark in zip(ordered, marks, strict=True):
                rows.add(Version(token(name), price, day, business, mark))
        return rows

    def visible(self) -> set[Version]:
        """Return the rows that the marts may show."""
        return {each for each in self.versions() if each.superseded_by is None}

    def after(self, step: Step, number: int) -> Oracle:
        """Return the truth after a load that is not refused; `number` is that of its run."""
        then = Oracle()
        then.last_number = number
        then.loaded = self.loaded | {number}
        if step.mode is Mode.REPLACE:
            then.snapshot = Seen(step)
        else:
            kept = (self.snapshot, *(s for d, s in self.days.items() if d != step.day))
            for seen in filter(None, kept):
                copy = replace(
                    seen,
                    quantities=[*seen.quantities, step.max_quantity],
                    prefixes=[*seen.prefixes, step.product_prefix],
                )
                if seen is self.snapshot:
                    then.snapshot = copy
                else:
                    then.days[seen.step.day] = copy
            then.days[step.day] = Seen(step)
        then.last = step
        return then

    def refusal(self, number: int, step: Step) -> int:
        """Return the exit code of a load: 0 where it is not refused."""
        last = self.last
        if last is None or self.last_number == number:
            return 0
        is_append = step.mode is Mode.APPEND
        other_key = bool(self.versions()) and last.key != step.key
        if other_key and (is_append or not step.accept_key):
            return 2
        older = step.day < last.day and number not in self.loaded
        loosened = not step.accept_rules and self._is_loosened(step)
        refused = (loosened if is_append else older) or self._loses_too_much(number, step)
        return 65 if refused else 0

    def _loses_too_much(self, number: int, step: Step) -> bool:
        before, after = len(self.visible()), len(self.after(step, number).visible())
        if step.share >= 1 or not before:
            return False
        if not step.rows and not step.rejects:
            return not step.allow_empty
        return before - after > step.share * before

    def _is_loosened(self, step: Step) -> bool:
        for seen in (self.snapshot, *(s for day, s in self.days.items() if day != step.day)):
            if seen is None:
                continue
            then, rejects = seen.step, seen.step.rejects
            if (
                rejects.get("quantity_range")
                and step.max_quantity > then.max_quantity
                and not any(each >= step.max_quantity for each in seen.quantities)
            ):
                return True
            if (
                rejects.get("product_prefix")
                and not step.product_prefix.startswith(then.product_prefix)
                and not any(step.product_prefix.startswith(each) for each in seen.prefixes)
            ):
                return True
        return False


PRICES: tuple[str, ...] = ("1.00", "2.00")
_REASONS: tuple[str, ...] = ("quantity_range", "product_prefix", "date_format")
_rows: st.SearchStrategy[dict[str, tuple[str, str]]] = st.dictionaries(
    st.sampled_from(IDENTIFIERS),
    st.tuples(st.sampled_from(DAYS), st.sampled_from(PRICES)),
    max_size=len(IDENTIFIERS),
)
_rejects: st.SearchStrategy[dict[str, int]] = st.dictionaries(
    st.sampled_from(_REASONS),
    st.integers(1, 3),
    max_size=2,
)


@st.composite
def histories(draw: st.DrawFn, longest: int = 6) -> list[Step]:
    """Draw loads of few days and identifiers, most of them ordinary ones."""
    steps: list[Step] = []
    quantity, prefix, key = QUANTITIES[0], PREFIXES[-1], KEYS[0]
    strict = draw(st.booleans())
    for number in range(draw(st.integers(1, longest))):
        what = draw(
            st.sampled_from(("deliver",) * 8 + ("snapshot",) * 3 + ("again", "key", "rules"))
        )
        if what == "again" and steps:
            again = draw(st.integers(0, number - 1))
            first = steps[again].again
            steps.append(replace(steps[again], again=again if first is None else first))
            continue
        if what == "rules":
            quantity, prefix = draw(st.sampled_from(QUANTITIES)), draw(st.sampled_from(PREFIXES))
        if what == "key":
            key = draw(st.sampled_from(KEYS))
        mode = Mode.REPLACE if what in ("snapshot", "key") else Mode.APPEND
        steps.append(
            Step(
                mode,
                draw(st.sampled_from(DAYS)),
                draw(_rows),
                draw(_rejects),
                key,
                quantity,
                prefix,
                share=KEPT_SHARE if strict else 1.0,
                allow_empty=draw(st.booleans()),
                accept_key=draw(st.booleans()),
                accept_rules=draw(st.sampled_from((False, False, True))),
            )
        )
    return steps


class Site(NamedTuple):
    """A warehouse with a lake, and what asks the warehouse."""

    config: Config
    lake: Path
    target: str
    ask: Callable[[str], list[Sequence[Any]]]


@contextmanager
def site_of(config: Config, lake: Path, target: str) -> Generator[Site]:
    """Make a site whose tables are there, so that they can be emptied for each history."""
    load(config, sealed_run(config, lake, "first", []), target)
    with asked(config, target) as ask:
        yield Site(config, lake, target, ask)


def versions_in(site: Site) -> set[Version]:
    """Return every row of the raw table."""
    return {
        as_version(values)
        for values in site.ask(_VERSIONS.format(raw_table(site.config, site.target)))
    }


def _empty(site: Site) -> None:
    """Forget every load and every run; the next history finds tables without rows."""
    loads = table(site.config, site.target, raw_schema(site.config), LOAD_RUNS)
    raw = raw_table(site.config, site.target)
    site.ask(f"truncate table {raw}; truncate table {loads};")
    shutil.rmtree(site.lake, ignore_errors=True)


def configured(config: Config, step: Step) -> Config:
    """Return the configuration of a step: its rules, and its share of rows that may go."""
    rules = config.rules.model_copy(
        update={
            "max_quantity": step.max_quantity,
            "product_prefix": step.product_prefix,
            "max_removed_share": step.share,
        }
    )
    ingestion = config.ingestion.model_copy(update={"validation": rules})
    return config.model_copy(update={"ingestion": ingestion})


class Replay:
    """Loads one history after the other, and knows what the tables must hold then."""

    def __init__(self, *sites: Site) -> None:
        self._sites = sites
        for site in sites:
            _empty(site)
        self._runs: list[tuple[Config, RunFolder]] = []
        self.truth = Oracle()

    def history(self, steps: Sequence[Step]) -> tuple[Config, RunFolder]:
        """Load step by step.

        Returns:
            The run that was loaded last, and its configuration.
        """
        first = len(self._runs)
        for step in steps:
            if step.again is None:
                self._runs.append(self._sealed(step))
                self._load(len(self._runs) - 1, step)
            else:
                self._runs.append(self._runs[first + step.again])
                self._load(first + step.again, step)
        assert self.truth.last_number is not None
        return self._runs[self.truth.last_number]

    def _load(self, number: int, step: Step) -> None:
        """Load a run: the tables are the oracle's, or it was refused and changed nothing."""
        truth = then = self.truth
        expected = truth.refusal(number, step)
        if not expected and truth.last_number != number:
            then = truth.after(step, number)
        options = LoadOptions(step.accept_key, step.accept_rules)
        for site in self._sites:
            code, record = 0, None
            try:
                record = load(*self._runs[number], site.target, options)
            except SalesMartError as error:
                code = error.exit_code
            where = (site.target, len(self._runs), step)
            assert code == expected, where
            if record is not None and then is not truth:
                _check_record(record, step, truth.visible(), then)
            assert versions_in(site) == then.versions(), where
        self.truth = then

    def _sealed(self, step: Step) -> tuple[Config, RunFolder]:
        config = configured(self._sites[0].config, step)
        run = sealed_run(
            config,
            self._sites[0].lake,
            f"{next(_numbers)}",
            step.values,
            business_date=step.day,
            mode=step.mode,
            key_id=step.key,
            rejects=step.rejects,
            allow_empty=step.allow_empty,
        )
        return config, run


def check_history(site: Site, steps: Sequence[Step]) -> None:
    """Load step by step into empty tables."""
    Replay(site).history(steps)


def _check_record(record: Load, step: Step, before: set[Version], truth: Oracle) -> None:
    """Check that the load tells what it has changed."""
    now = truth.visible()
    ours = {token(name) for name in step.rows}
    shown = {each for each in now if each.business_date == step.day and each.transaction_id in ours}
    assert record.visible_rows == len(now)
    assert record.rows + record.hidden_rows == len(step.rows)
    assert None not in (record.removed_rows, record.superseded_rows, record.shown_again_rows)
    assert len(before) + record.rows + (record.shown_again_rows or 0) == (
        len(now) + (record.removed_rows or 0) + (record.superseded_rows or 0)
    )
    assert record.rejects == step.rejects
    if step.mode is Mode.REPLACE:
        assert (record.window, record.removed_rows) == (None, len(before))
        return
    assert record.rows == len(shown)
    changed = {each.sale_date for each in before ^ now}
    assert record.window is not None
    assert changed <= {day.isoformat() for day in record.window}
    dates = {each.sale_date for each in before | now}
    assert {day.isoformat() for day in record.window} <= dates


def as_version(values: Sequence[Any]) -> Version:
    """Read a row of the raw table."""
    token_, price, sale_date, business_date, mark = values
    assert isinstance(sale_date, date)
    return Version(
        token_,
        f"{price:.2f}",
        sale_date.isoformat(),
        business_date.isoformat(),
        mark.isoformat() if mark else None,
    )


_VERSIONS = "select transaction_id, price, sale_date, business_date, superseded_by from {}"
