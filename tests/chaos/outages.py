"""Servers that fail while a run is under way, at places and in ways that a seed chooses.

Every attempt is the same: a run with one fault in its way, until the time is up; then the same run
without the fault. What must hold: the first ends with 0 or 75 in bounded time, what readers see is
the run before or this one, and the second ends as an undisturbed run. An attempt counts for what it
struck; where nothing was struck, another fault is tried and nothing is counted.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from attempts import attempt, configured
from chaos.table import Row
from faulty import Fault, Http, Wire, http, wire
from sales_mart.config import Config
from sales_mart.steps.pipeline import run
from sales_mart.steps.summary import published_summary
from targets import Target
from warehouses import BOTH, ask, fresh_config, raw_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_mart.servers.local import LocalServers

__all__ = ["outages"]

_DAY = date(2023, 10, 1)
_SECONDS = 240.0
_MARKS = (
    *(b"lock table", b"truncate", b"PGCOPY", b"load_runs", b"COMMIT", b"create view"),
    *(b"fact", b"sales_by_product", b"summary_sales", b"dbt_internal_test", b"hash_record"),
    *(b"delete from", b"insert into", b"sales_mart_summary"),
)
_Shown = dict[Target, list[tuple[str, str, int]]]
_NAMES = {
    (True, False): "PostgreSQL: connection cut, answer lost or silence",
    (False, True): "BigQuery API: 429, 500, 503, 403, closed, cut short, silence",
    (True, True): "both at once",
}
"""What an attempt is called, by whether PostgreSQL and BigQuery were struck."""
_PATHS = ("tables/", "datasets/", "/queries/", "/v2/.*/jobs", "uploadType", "staging")


class _Field(NamedTuple):
    """Where the attacks happen: servers, the proxies before them, a lake."""

    servers: LocalServers
    line: Wire
    api: Http
    folder: Path

    def struck(self) -> tuple[int, int]:
        """Count what was struck so far, of PostgreSQL and of BigQuery."""
        return self.line.struck, self.api.struck


def outages(servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Attack whole runs for about `seconds`, with faults that `seed` chooses.

    Returns:
        One row for each kind of outage.
    """
    chosen = random.Random(seed)  # noqa: S311 - to repeat an attack, not to keep a secret
    attacks = (_break_postgres, _break_bigquery, _break_both)
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    found: dict[str, list[str]] = {name: [] for name in _NAMES.values()}
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        assert servers.postgres_port is not None
        assert servers.bigquery_endpoint is not None
        field = _Field(
            servers,
            stack.enter_context(wire(servers.postgres_port)),
            stack.enter_context(http(servers.bigquery_endpoint)),
            folder,
        )
        number = turn = 0
        while time.monotonic() < deadline or turn < len(attacks):  # each of them once
            before = field.struck()
            wrong = _one(field, attacks[turn % len(attacks)], chosen, number)
            struck = field.struck()
            name = _NAMES.get((struck[0] > before[0], struck[1] > before[1]))
            if name is None and wrong:
                # An undisturbed run that goes wrong is a finding all the same.
                name = "nothing was struck"
                found.setdefault(name, [])
            if name is not None:
                tried[name] += 1
                survived[name] += not wrong
                found[name] += [f"attempt {number}: {each}" for each in wrong]
                turn += 1
            number += 1
    return [Row(name, tried[name], survived[name], "; ".join(found[name])) for name in tried]


def _break_postgres(field: _Field, chosen: random.Random) -> None:
    cut = chosen.choice(("drop", "lose answer", "mute"))
    field.line.fault(chosen.choice(_MARKS), cut, skip=chosen.randrange(4))


def _break_bigquery(field: _Field, chosen: random.Random) -> None:
    statuses = {
        429: "rateLimitExceeded",
        500: "internalError",
        503: "backendError",
        403: "quotaExceeded",
    }
    then = chosen.choice((*statuses, "drop", "lose answer", "truncate", "mute", "slow"))
    reason = statuses.get(then, "") if isinstance(then, int) else ""
    times = chosen.choice((1, 3, 1_000_000))
    field.api.fault(Fault(then, path=chosen.choice(_PATHS), reason=reason, times=times))  # pyright: ignore[reportArgumentType]


def _break_both(field: _Field, chosen: random.Random) -> None:
    _break_postgres(field, chosen)
    _break_bigquery(field, chosen)


def _one(
    field: _Field,
    attack: Callable[[_Field, random.Random], None],
    chosen: random.Random,
    number: int,
) -> list[str]:
    """Do one attempt; gives what did not hold."""
    straight = _with_source(fresh_config(field.servers), field.folder, number)
    broken = configured(
        configured(straight, Target.POSTGRES, port=field.line.port, statement_timeout=8),
        Target.BIGQUERY,
        api_endpoint=field.api.url,
        request_timeout=2,
        job_timeout=20,
    )
    _write(straight, ["OLD1,Halal Mouse,1.00,1,2023-10-01"])
    lake = str(field.folder / f"lake{number}")
    run(straight, lake, business_date=_DAY, targets=BOTH)
    before = _shown(straight)
    _write(straight, [f"N{each},Halal Mouse,2.00,1,2023-10-01" for each in range(50)])
    attack(field, chosen)
    wrong: list[str] = []
    try:
        ended = attempt(lambda: run(broken, lake, business_date=_DAY, targets=BOTH))
    except Exception as error:  # noqa: BLE001 - what the attack is looking for
        wrong.append(f"ended with {type(error).__name__}")
    else:
        if ended.code not in (0, 75):
            wrong.append(f"ended with {ended.code}: {ended.said.splitlines()[0]}")
        if ended.seconds > _SECONDS:
            wrong.append(f"took {ended.seconds:.0f} s")
    field.line.heal()
    field.api.heal()
    wanted = [("Halal Mouse", "100.00", 50)]
    wrong += [f"{t} shows {_shown(straight)[t]}" for t in BOTH if not _whole(straight, t, before)]
    again = attempt(lambda: run(straight, lake, business_date=_DAY, targets=BOTH))
    if again.code:
        wrong.append(f"the same run again ended with {again.code}: {again.said.splitlines()[0]}")
    wrong += [f"{t} ends with {rows}" for t, rows in _shown(straight).items() if rows != wanted]
    return wrong + _doubled(straight)


def _whole(config: Config, target: Target, before: _Shown) -> bool:
    return _shown(config)[target] in (before[target], [("Halal Mouse", "100.00", 50)])


def _shown(config: Config) -> _Shown:
    shown: _Shown = {}
    for target in BOTH:
        with published_summary(config, target) as (_, rows):
            shown[target] = [(each[0], str(each[2]), each[4]) for each in rows]
    return shown


def _doubled(config: Config) -> list[str]:
    wrong: list[str] = []
    for target in BOTH:
        sql = f"select count(*), count(distinct transaction_id) from {raw_table(config, target)}"
        if ask(config, target, sql) != [(50, 50)]:
            wrong.append(f"{target}: rows lost or doubled in the raw table")
    return wrong


def _with_source(config: Config, folder: Path, number: int) -> Config:
    lake = config.data_lake.model_copy(update={"source": (str(folder / f"in{number}.csv"),)})
    return config.model_copy(update={"data_lake": lake})


def _write(config: Config, lines: Sequence[str]) -> None:
    (source,) = config.sources
    header = "transaction_id,product,price,quantity,date"
    Path(source).write_text("\n".join([header, *lines, ""]), encoding="utf-8")
