"""A site under attack: inputs, commands as processes, and whole contents of what readers see."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import yaml

from published import DESCRIPTIONS, EXPORTS, digests, exported_files, marts_query, state
from sales_mart.config import Config
from sales_mart.names import LOAD_RUNS, raw_schema
from sales_mart.warehouses.base import DEFAULT_TARGETS, open_warehouse
from sales_mart.warehouses.bigquery import connection as bigquery
from warehouses import ask, mart_schema, next_schema, raw_table

from .ledger import stops_of
from .story import write_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_mart.servers.local import LocalServers
    from sales_mart.warehouses.duckdb import DuckDB

    from .story import Input

__all__ = ["Running", "Site"]

PROGRAM = Path(sys.executable).with_name("sales-mart")
# What a snapshot removes is what an attempt before it may have left: `broken_accounts` adds it up.
_TIMES = re.compile(r"(seconds|loaded_at|published_at|sequences?|bytes_billed|built)$")


class Running:
    """A command as a process, in a process group of its own, as a terminal starts it."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.arguments = arguments
        self._log = site.folder / "logs" / f"{uuid.uuid4().hex}.log"
        self._log.parent.mkdir(exist_ok=True)
        self.begun = time.monotonic()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, *arguments, "--config", site.config_file],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=site.folder,
                env=site.environ,
                start_new_session=True,
            )

    @property
    def stderr(self) -> str:
        """What it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def done(self) -> list[str]:
        """Give the steps that it has logged as done, in order."""
        lines = (line for line in self.stderr.splitlines() if '"done in ' in line)
        return [json.loads(line)["step"] for line in lines if line.endswith("}")]

    def wait_until(self, what: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Wait until something holds; False when the process ends before."""
        deadline = time.monotonic() + seconds
        while not what():
            if not self.is_running or time.monotonic() > deadline:
                return what()
            time.sleep(0.002)
        return True

    def end(self, seconds: float = 900.0) -> int:
        """Wait for the end and give the exit code."""
        return self.process.wait(seconds)

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal to the process, or to its whole group as a terminal does."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)


class Site:
    """A configuration with schemas, a lake and a folder of temporary files of its own."""

    def __init__(
        self,
        servers: LocalServers,
        folder: Path,
        seed: int,
        rows: int = 2_000,
        targets: Sequence[str] = DEFAULT_TARGETS,
    ) -> None:
        # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.folder = folder
        self.targets = tuple(targets)
        self.steps = stops_of(targets)
        self.lake = folder / "lake"
        self.export = self.lake / "export"
        self.inputs = folder / "in"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.mark = f"CHAOS_SITE={uuid.uuid4().hex}"
        unique = uuid.uuid4().hex[:8]
        settings: dict[str, Any] = servers.settings()
        settings["data_warehouse"] |= {
            "project_id": "chaos",
            "dataset": f"raw_{unique}",
            "targets": list(targets),
            "duckdb": {"path": str(folder / "duckdb" / "sales.duckdb")},
        }
        settings["data_mart"] = {"dataset": f"mart_{unique}", "postgres_schema": f"shown_{unique}"}
        settings["data_lake"] = {"lake": str(self.lake)}
        settings["ingestion"] = {"validation": {"product_prefix": "Halal", "max_quantity": 100}}
        settings["security"] = {"algorithm": "sha256"}
        self.config = Config.model_validate(settings)
        self.config_file = folder / "pipeline_config.yaml"
        self.config_file.write_text(yaml.safe_dump(settings))
        self.config_file.chmod(0o600)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SALES_MART_", "POSTGRES_", "PII_"))
        }
        name, _, value = self.mark.partition("=")
        self.environ = {**kept, name: value, "TMPDIR": str(self.temporary)}
        self._url = servers.postgres_url or ""
        # Two connections of one process are in each other's way.
        self._one_at_a_time = threading.Lock()
        write_inputs(self.inputs, random.Random(seed), rows)  # noqa: S311 - not a secret

    # --- commands

    def start(self, *arguments: str) -> Running:
        """Start a command."""
        return Running(self, *arguments)

    def run_options(self, item: Input) -> tuple[str, ...]:
        """Give the options that name an input."""
        folder = self.inputs / item.name
        source = str(folder / "{date}" / "*.csv") if item.daily else str(folder / "*.csv")
        return ("--source", source, "--business-date", item.day, "--shards", "2")

    def do(self, *arguments: str) -> int:
        """Run a command to its end."""
        return self.start(*arguments).end()

    def plan(self, item: Input) -> str:
        """Plan an input, undisturbed, and give the run's id."""
        before = set(self.runs())
        running = self.start("plan", *self.run_options(item))
        assert running.end() == 0, running.stderr
        (new,) = set(self.runs()) - before
        return new

    def runs(self) -> list[str]:
        """List the runs of the lake."""
        return sorted(path.parent.name for path in self.lake.glob("runs/*/plan.json"))

    def forget(self, run_id: str) -> None:
        """Remove a run from the lake, so that it has to run from its first step."""
        shutil.rmtree(self.lake / "runs" / run_id, ignore_errors=True)

    # --- what readers see

    def marts(self, target: str) -> str:
        """Give the digest of all marts of a warehouse, of one moment, as a reader sees them."""
        query = marts_query(self.config, target)
        if target == "postgres":
            with self.session() as connection:
                return state(connection.execute(query.encode()))
        if target == "duckdb":
            return state(self._ask_published(query))
        return state(ask(self.config, target, query))

    def _ask_published(self, query: str) -> list[tuple[Any, ...]]:
        """Read the published file of DuckDB as an analyst does, who takes no lock of ours."""
        import duckdb

        path = cast("DuckDB", open_warehouse(self.config, "duckdb")).path
        with self._one_at_a_time, duckdb.connect() as connection:
            connection.execute(f"attach '{path}' as published (read_only)")
            return connection.execute(query).fetchall()

    def _ask(self, target: str, query: str) -> list[tuple[Any, ...]]:
        with self._one_at_a_time:
            return ask(self.config, target, query)

    def exported(self) -> dict[str, str]:
        """Give the digests of the exported files."""
        return digests(self.files())

    def files(self) -> dict[str, bytes]:
        """Give the exported files."""
        return exported_files(self.export)

    def session(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a connection of a reader, who waits for no lock longer than a second."""
        return psycopg.connect(self._url, application_name="reader", options="-clock_timeout=1s")

    def records(self, run_id: str) -> dict[str, Any]:
        """Give the records of a run, without times and without the numbers of loads.

        What the report shows depends on the run before it too, and on how long this one took.
        """
        found: dict[str, Any] = {}
        for path in (self.lake / "runs" / run_id).glob("*.json"):
            if path.name not in {"run.json", "report.json"}:
                found[path.name] = _timeless(json.loads(path.read_bytes()))
        return found

    def raw(self) -> str:
        """Give a digest of the rows of all raw tables, whichever runs brought them."""
        columns = (
            "transaction_id, product, price, quantity, sale_date, business_date, superseded_by"
        )
        found: list[str] = []
        for target in self.targets:
            sql = f"select {columns} from {raw_table(self.config, target)}"
            rows = sorted(
                "|".join(
                    f"{value:f}" if isinstance(value, Decimal) else str(value) for value in row
                )
                for row in self._ask(target, sql)
            )
            found.append(hashlib.sha256("\n".join(rows).encode()).hexdigest())
        return " ".join(found)

    def broken_accounts(self) -> list[str]:
        """Name the loads after which other rows are visible than they say."""
        found: list[str] = []
        for target in self.targets:
            warehouse = open_warehouse(self.config, target)
            name = warehouse.dialect.table(warehouse.raw_schema, LOAD_RUNS)
            added = f"{warehouse.dialect.identifier('rows')} + shown_again_rows"
            visible = 0
            for run_id, change, after in self._ask(
                target,
                f"select run_id, {added} - removed_rows - superseded_rows, visible_rows"
                f" from {name} order by sequence",
            ):
                visible += change
                if visible != after:
                    found.append(f"{target}: {run_id} leaves {visible} rows visible, not {after}")
            sql = f"select count(*) from {raw_table(self.config, target)}"
            ((here,),) = self._ask(target, f"{sql} where superseded_by is null")
            if here != visible:
                found.append(f"{target}: {here} rows are visible, not {visible}")
        return found

    # --- what must not grow

    def places(self) -> set[str]:
        """List all schemas and datasets of the servers."""
        with self.session() as connection:
            found = {
                f"schema {row[0]}"
                for row in connection.execute(
                    "select nspname from pg_namespace where nspname !~ '^pg_(toast_)?temp'"
                )
            }
        with bigquery.client(self.config) as client:
            return found | {f"dataset {each.dataset_id}" for each in client.list_datasets()}

    def relations(self, *, expiring: bool = False) -> set[str]:
        """List tables, views and indexes of both warehouses; staging tables only where asked.

        Versions of marts, and their indexes, without their numbers.
        """
        config = self.config
        names = {raw_schema(config)}
        for target in self.targets:
            names |= {mart_schema(config, target), next_schema(config, target)}
        with self.session() as connection:
            found = {
                f"{schema}.{name}"
                for schema, name in connection.execute(
                    "select nspname, regexp_replace(relname, '^([iv])[0-9]+__', '\\1__')"
                    " from pg_class join pg_namespace n"
                    " on n.oid = relnamespace where nspname = any(%s)",
                    (list(names),),
                )
            }
        with bigquery.client(config) as client:
            for dataset in client.list_datasets():
                if dataset.dataset_id not in names:
                    continue
                for item in client.list_tables(dataset.reference):
                    expires = client.get_table(item.reference).expires
                    if expiring or not (item.table_id.startswith("staging_") and expires):
                        found.add(f"bigquery:{dataset.dataset_id}.{item.table_id}")
        if "duckdb" in self.targets:
            found |= {
                f"duckdb:{'.'.join(each)}"
                for each in self._ask(
                    "duckdb",
                    "select database_name, schema_name, table_name from duckdb_tables()"
                    " where not internal union all"
                    " select database_name, schema_name, view_name from duckdb_views()"
                    " where not internal",
                )
            }
        return found

    def leftovers(self) -> list[str]:
        """Name temporary files that outlive a finished run."""
        found = [str(path) for path in self.temporary.iterdir()]
        found += [str(path) for path in self.lake.rglob("*.tmp")]
        found += [str(path) for path in self.lake.rglob("temporary")]
        ours = ("sales.duckdb", "sales.duckdb.work", ".sales.duckdb.lock")
        files = (self.folder / "duckdb").glob("*")
        found += [str(path) for path in files if path.name not in ours]
        known = (*EXPORTS, *DESCRIPTIONS)
        return found + [str(p) for p in self.export.iterdir() if p.name not in known]

    def processes(self) -> list[str]:
        """Name the processes of this site that are alive."""
        mark = self.mark.encode()
        found: list[str] = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    found.append(f"{folder.name} {b' '.join(words[1:5]).decode()[:90]}")
        return found

    def dbt_children(self) -> list[int]:
        """Give the process numbers of dbt."""
        return [int(each.split()[0]) for each in self.processes() if "dbt_runner.worker" in each]

    def sessions(self) -> int:
        """Count the sessions of ours that PostgreSQL serves."""
        with self.session() as connection:
            row = connection.execute(
                "select count(*) from pg_stat_activity where application_name = 'sales_mart'"
            ).fetchone()
        assert row is not None
        return row[0]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        known = {str(key): item for key, item in value.items()}
        if known.get("mode") == "replace":
            known.pop("removed_rows", None)
        return {key: _timeless(item) for key, item in known.items() if not _TIMES.search(key)}
    if isinstance(value, list):
        return sorted((_timeless(item) for item in value), key=repr)
    return value
