"""Ways to publish a mart on PostgreSQL, measured: seconds, reader waits, snapshots, dependants.

    python benchmarks/publish_ways.py --rows 6000000

starts a PostgreSQL server of its own (extra `local`) and prints one Markdown table per case:

* `replace`: every row of the mart is another one;
* `few days`: the next mart is built whole, but only three of its days differ;
* `append`: one day of 20,000 rows is added to the history.

While a way publishes, one reader polls a day of the mart. One transaction took its snapshot before
the next mart was built, and reads the mart after it was published. The append is done twice: the
second one meets a transaction that has read the mart and stays open for three seconds.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg.sql import SQL, Identifier

from sales_mart.servers.local import local_servers

if TYPE_CHECKING:
    from collections.abc import Generator

Connection = psycopg.Connection[tuple[Any, ...]]

log = logging.getLogger("publish_ways")

HOLD_SECONDS = 3.0
COLUMNS = ("transaction_id", "product", "price", "quantity", "amount", "sale_date")
# 365 days from the middle of January, so that the appended day falls into a month half full.
HISTORY = """
    create table source.{name} as
    select
        md5(i::text) || md5((-i)::text) as transaction_id,
        'Halal product ' || i % 500 as product,
        cast(i % 1000 + {shift} as numeric(18, 2)) as price,
        cast(i % 100 + 1 as bigint) as quantity,
        cast((i % 1000 + {shift}) * (i % 100 + 1) as numeric(29, 2)) as amount,
        date '2023-01-15' + cast(i * 365 / {rows} as integer) as sale_date
    from generate_series(0::bigint, {rows} - 1) as i
"""
BATCH = """
    create table source.batch as
    select
        md5('b' || i) || md5('c' || i) as transaction_id, product, price, quantity, amount,
        date '2024-01-15' as sale_date
    from (select *, row_number() over () as i from source.old limit 20000) as sample
"""
CHANGED_DAYS: LiteralString = """
    with live as (
        select
            sale_date,
            count(*) as rows,
            sum(hash_record_extended(row({columns}), 0)) as checksum
        from {live}
        group by sale_date
    ),
    next as (
        select
            sale_date,
            count(*) as rows,
            sum(hash_record_extended(row({columns}), 0)) as checksum
        from {next}
        group by sale_date
    )
    select sale_date
    from live full join next using (sale_date)
    where (live.rows, live.checksum) is distinct from (next.rows, next.checksum)
"""
POLLED = "select count(*) from live.pg_sales where sale_date = date '2023-06-15'"
TOTAL = "select coalesce(sum(amount * quantity), 0) from {}"
CHANGED = "delete and insert the days that differ"


@dataclass(frozen=True)
class Way:
    """One way to publish: statements that set the live mart up, build the next one, show it."""

    name: str
    setup: list[str]
    build: dict[str, list[str]]
    publish: dict[str, list[str]]


def tables() -> list[str]:
    """Set up a plain live table."""
    return [
        "create table live.pg_sales as select * from source.old",
        "create index on live.pg_sales (sale_date)",
    ]


def in_place(name: str, statements: list[str]) -> Way:
    """Change the rows of the live table; an append changes those of its window only."""
    window = "delete from live.pg_sales where sale_date = date '2024-01-15'"
    insert = "insert into live.pg_sales select * from next.pg_sales"
    batch = "create table next.pg_sales as select * from source.batch"
    return Way(
        name,
        tables(),
        {
            "replace": ["create table next.pg_sales as select * from source.new"],
            "few days": ["create table next.pg_sales as select * from source.changed"],
            "append": [batch],
        },
        {"replace": statements, "few days": statements, "append": [window, insert]},
    )


def views() -> Way:
    """Keep two builds, and let a view show one of them.

    An append brings the build that is not shown up to date, with its window and, in practice,
    that of the run before.
    """
    show = "create or replace view live.pg_sales as select * from {}.pg_sales"
    return Way(
        "stable view over two builds",
        [
            "create table one.pg_sales as select * from source.old",
            "create index on one.pg_sales (sale_date)",
            show.format("one"),
        ],
        {
            "replace": [
                "create table two.pg_sales as select * from source.new",
                "create index on two.pg_sales (sale_date)",
            ],
            "append": [
                "delete from one.pg_sales where sale_date = date '2024-01-15'",
                "insert into one.pg_sales select * from source.batch",
            ],
        },
        {"replace": [show.format("two")], "append": [show.format("one")]},
    )


def rename() -> Way:
    """Build a table anew, then give it the live one's name."""
    index = "create index on next.pg_sales (sale_date)"
    swap = [
        "alter table live.pg_sales rename to pg_sales_before",
        "alter table live.pg_sales_before set schema old",
        "alter table next.pg_sales set schema live",
    ]
    history = (
        "create table next.pg_sales as select * from live.pg_sales"
        " where sale_date <> date '2024-01-15' union all select * from source.batch"
    )
    return Way(
        "rename swap",
        tables(),
        {
            "replace": ["create table next.pg_sales as select * from source.new", index],
            "append": [history, index],
        },
        {"replace": swap, "append": swap},
    )


def partitions() -> Way:
    """Attach and detach months; a check constraint spares the scan of what is attached."""
    firsts = [f"{2023 + n // 12}-{n % 12 + 1:02}-01" for n in range(14)]
    spans = list(pairwise(firsts))

    def month(number: int, source: str) -> list[str]:
        first, after = spans[number]
        table = f"next.m{number}"
        span = f"sale_date >= '{first}' and sale_date < '{after}'"
        return [
            f"create table {table} as select * from {source} where {span}",
            f"alter table {table} add check (sale_date is not null and {span})",
            f"create index on {table} (sale_date)",
        ]

    def attach(number: int) -> list[str]:
        first, after = spans[number]
        values = f"for values from ('{first}') to ('{after}')"
        return [
            f"alter table next.m{number} set schema live",
            f"alter table live.pg_sales attach partition live.m{number} {values}",
        ]

    def swap(number: int) -> list[str]:
        gone = f"live.m{number}"
        detach = f"alter table live.pg_sales detach partition {gone}"
        return [detach, f"drop table {gone}", *attach(number)]

    numbers = range(len(spans))
    last = numbers[-1]
    grown = (
        f"(select * from live.m{last} where sale_date <> '2024-01-15'"
        " union all select * from source.batch) as grown"
    )
    return Way(
        "attach and detach partitions",
        [
            "create table live.pg_sales (like source.old) partition by range (sale_date)",
            "create index on live.pg_sales (sale_date)",
            *(line for n in numbers for line in (*month(n, "source.old"), *attach(n))),
        ],
        {
            "replace": [line for n in numbers for line in month(n, "source.new")],
            "append": month(last, grown),
        },
        {"replace": [line for n in numbers for line in swap(n)], "append": swap(last)},
    )


def versions() -> Way:
    """Attach a build as a version, and let a row name the one that the view shows."""

    def build(number: int, source: str) -> list[str]:
        return [
            f"create table next.pg_sales as select * from {source}",
            (
                f"alter table next.pg_sales add column version bigint not null default {number},"
                f" add check (version = {number})"
            ),
            f"create index v{number}_sale_date on next.pg_sales (sale_date)",
        ]

    def attach(number: int) -> list[str]:
        return [
            f"alter table next.pg_sales rename to v{number}",
            f"alter table next.v{number} set schema one",
            f"alter table one.pg_sales attach partition one.v{number} for values in ({number})",
            f"update one.current_version set version = {number}",
        ]

    return Way(
        "a version that a row names",
        [
            (
                "create table one.pg_sales (like source.old, version bigint)"
                " partition by list (version)"
            ),
            "create table one.current_version as select 0 as version",
            (
                f"create view live.pg_sales as select {', '.join(COLUMNS)} from one.pg_sales"
                " where version = (select max(version) from one.current_version)"
            ),
            *build(1, "source.old"),
            *attach(1),
        ],
        {
            "replace": build(2, "source.new"),
            "few days": build(3, "source.changed"),
            "append": ["create table next.pg_sales as select * from source.batch"],
        },
        {
            "replace": attach(2),
            "few days": attach(3),
            "append": [
                "delete from one.v3 where sale_date = date '2024-01-15'",
                "insert into one.v3 select * from next.pg_sales",
            ],
        },
    )


def ways() -> list[Way]:
    """Return the contestants."""
    insert = "insert into live.pg_sales select * from next.pg_sales"
    return [
        versions(),
        views(),
        rename(),
        partitions(),
        in_place("truncate and insert", ["truncate live.pg_sales", insert]),
        in_place("delete and insert", ["delete from live.pg_sales", insert]),
        in_place(CHANGED, [CHANGED]),
    ]


@dataclass
class Poller:
    """A reader that asks for one day of the mart over and over."""

    dsn: str
    longest: float = 0.0
    counts: set[int] = field(default_factory=set)
    errors: set[str] = field(default_factory=set)

    @contextmanager
    def running(self) -> Generator[None]:
        """Poll in a thread while the context lasts."""
        done = threading.Event()
        thread = threading.Thread(target=self._poll, args=(done,))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _poll(self, done: threading.Event) -> None:
        with psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None) as connection:
            while not done.is_set():
                started = time.perf_counter()
                try:
                    self.counts.update(count for (count,) in connection.execute(POLLED))
                except psycopg.Error as error:
                    self.errors.add(type(error).__name__)
                self.longest = max(self.longest, time.perf_counter() - started)


@dataclass(frozen=True)
class Row:
    """What one publication cost and what others saw of it."""

    way: str
    build: float
    publish: float
    reader: str
    snapshot: str
    view: str
    grant: str

    def __str__(self) -> str:
        """Return the row in Markdown."""
        return (
            f"| {self.way} | {self.build:.2f} | {self.publish:.2f} | {self.reader} "
            f"| {self.snapshot} | {self.view} | {self.grant} |"
        )


def scalar(connection: Connection, statement: str) -> Any:
    """Return the one value that a statement returns."""
    return connection.execute(statement).fetchall()[0][0]


def execute(connection: Connection, statements: list[str]) -> float:
    """Run statements in one transaction; gives the seconds with the commit."""
    started = time.perf_counter()
    with connection.transaction():
        for statement in statements:
            if statement == CHANGED:
                rewrite_changed(connection)
            else:
                connection.execute(statement)
    return time.perf_counter() - started


def rewrite_changed(connection: Connection) -> None:
    """Write the days of which the live and the next rows differ."""
    columns = SQL(", ").join(map(Identifier, COLUMNS))
    live, following = Identifier("live", "pg_sales"), Identifier("next", "pg_sales")
    query = SQL(CHANGED_DAYS).format(live=live, next=following, columns=columns)
    days = [day for (day,) in connection.execute(query)]
    connection.execute(SQL("delete from {} where sale_date = any(%s)").format(live), (days,))
    connection.execute(
        SQL("insert into {} select * from {} where sale_date = any(%s)").format(live, following),
        (days,),
    )


def set_up(connection: Connection, way: Way) -> None:
    """Make the live mart anew."""
    for schema in ("live", "one", "two", "next", "old", "analyst"):
        connection.execute(f"drop schema if exists {schema} cascade")
        connection.execute(f"create schema {schema}")
    execute(connection, way.setup)


def measure(dsn: str, connection: Connection, way: Way, case: str, *, hold: bool) -> Row:
    """Build and publish once, with an analyst's view and grant on the mart."""
    for schema in ("next", "old"):
        connection.execute(f"drop schema {schema} cascade")
        connection.execute(f"create schema {schema}")
    connection.execute("grant select on live.pg_sales to analyst")
    connection.execute("create or replace view analyst.sales as select * from live.pg_sales")
    connection.execute("vacuum analyze")
    connection.execute("checkpoint")
    before = scalar(connection, TOTAL.format("live.pg_sales"))
    poller = Poller(dsn)
    with psycopg.connect(dsn, prepare_threshold=None) as older:
        older.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        # The snapshot is taken here, by a statement that does not touch the mart.
        older.execute("select 1 from pg_class limit 1")
        build = execute(connection, way.build[case])
        with poller.running():
            holder = threading.Thread(target=hold_read_lock, args=(dsn,))
            if hold:
                holder.start()
                time.sleep(0.5)
            publish = execute(connection, way.publish[case])
            time.sleep(0.3)
        if hold:
            holder.join()
        try:
            seen = scalar(older, TOTAL.format("live.pg_sales"))
        except psycopg.Error as error:
            seen = type(error).__name__
        after = scalar(connection, TOTAL.format("live.pg_sales"))
    through_view = scalar(connection, TOTAL.format("analyst.sales"))
    granted = scalar(connection, "select has_table_privilege('analyst', 'live.pg_sales', 'select')")
    assert before != after or hold
    reader = f"{poller.longest:.2f}"
    if 0 in poller.counts:
        reader += ", saw no rows"
    if poller.errors:
        reader += ", " + ", ".join(sorted(poller.errors))
    return Row(
        way=way.name,
        build=build,
        publish=publish,
        reader=reader,
        snapshot={after: "the new mart", 0: "an empty mart", before: "the old mart"}.get(
            seen, "neither mart"
        ),
        view="follows" if through_view == after else "shows the old rows",
        grant="stays" if granted else "lost",
    )


def hold_read_lock(dsn: str) -> None:
    """Read the mart in a transaction that then stays open for a while."""
    with psycopg.connect(dsn) as connection:
        connection.execute("select 1 from live.pg_sales limit 1")
        time.sleep(HOLD_SECONDS)


def compare(dsn: str, rows: int, only: list[str]) -> dict[str, list[Row]]:
    """Measure every way in every case."""
    cases: dict[str, list[Row]] = {"replace": [], "few days": [], "append": [], "append, held": []}
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("create schema source")
        connection.execute("create role analyst")
        for name, shift in (("old", 1), ("new", 2)):
            connection.execute(HISTORY.format(name=name, shift=shift, rows=rows))
        connection.execute("create table source.changed as select * from source.new")
        connection.execute(
            "update source.changed set quantity = 0"
            " where sale_date in ('2023-02-01', '2023-05-05', '2024-01-10')"
        )
        connection.execute(BATCH)
        for way in ways():
            if only and way.name not in only:
                continue
            set_up(connection, way)
            for case, found in cases.items():
                kind, _, held = case.partition(", ")
                if kind not in way.build:
                    continue
                row = measure(dsn, connection, way, kind, hold=bool(held))
                log.info("%s: %s", case, row)
                found.append(row)
    return cases


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--way", action="append", default=[], help="only this one; repeats")
    parser.add_argument("--folder", type=Path, help="where the server keeps its data")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        folder.chmod(0o711)  # a server that root starts runs as somebody else
        servers = stack.enter_context(local_servers(folder, bigquery=False))
        assert servers.postgres_url is not None
        cases = compare(servers.postgres_url, options.rows, options.way)
    for case, rows in cases.items():
        print(f"\n### {case}, {options.rows:,} rows\n")
        print("| way | build s | publish s | longest read s | older snapshot | view | grant |")
        print("|---|---|---|---|---|---|---|")
        print(*rows, sep="\n")


if __name__ == "__main__":
    main()
