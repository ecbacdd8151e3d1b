"""Running dbt: one process per target, ready early, its surroundings, and what it left behind."""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.dbt_runner.artifacts import artifacts
from sales_mart.dbt_runner.failure import Failure
from sales_mart.dbt_runner.forks import Worker, base_environment, shared_server, start_worker
from sales_mart.dbt_runner.project import project_of
from sales_mart.errors import ConfigurationError, TemporaryError, UnexpectedError
from sales_mart.lake.records import NodeResult
from sales_mart.lake.temporary import LockedFolder, Turn, system_temporary_folder
from sales_mart.marts import Mart, read_marts, type_variables
from sales_mart.schema import schema_of
from sales_mart.warehouses.base import check_installed, open_warehouse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.config import Config
    from sales_mart.warehouses.windows import Window

__all__ = ["DbtProcess", "DbtProgress", "Outcome", "environment", "variables"]

_log = logging.getLogger(__name__)

_END_SECONDS = 15.0
_MOST_DECIMALS = 9
_FOLDER = "SALES_MART_DBT_FOLDER"
_FOLDER_IN_0_1 = "SALES_MART_SCRATCH"


class Outcome(NamedTuple):
    """How a dbt command ended.

    Attributes:
        nodes: Every model and test of the command.
        tested: The model that a test is about, by the test's id.
        failures: Why nodes, or the command itself, did not run to their end.
        built: What tells the tables that were built apart from others of their names, by name.
        seconds: How long the command took.
    """

    nodes: tuple[NodeResult, ...]
    tested: Mapping[str, str]
    failures: tuple[Failure, ...]
    built: Mapping[str, str] = {}
    seconds: float = 0.0


class DbtProgress(NamedTuple):
    """How far a command is.

    Attributes:
        done: Models and tests that have ended.
        total: How many the command runs; 0 before that is known.
        item: The one that was started last.
    """

    done: int = 0
    total: int = 0
    item: str = ""


def variables(config: Config, target: str, window: Window = None) -> dict[str, Any]:
    """Return the vars of the dbt project.

    `min_price` is rounded up to the scale of prices, which decides every price the same way and
    fits the type of either warehouse; where it is multiplied, to as many decimals as all have.
    """
    rules, warehouse = config.rules, open_warehouse(config, target)
    schema = schema_of(config)
    scale = Decimal(1).scaleb(-_MOST_DECIMALS if schema.is_price_computed else -rules.max_decimals)
    return {
        # In a list, since dbt takes a text for a template and runs what stands in `{{ }}`.
        "product_prefix": [rules.product_prefix],
        "min_price": f"{rules.min_price.quantize(scale, ROUND_CEILING):f}",
        "max_quantity": rules.max_quantity,
        "max_decimals": rules.max_decimals,
        "window": None if window is None else [day.isoformat() for day in window],
        "raw_schema": warehouse.raw_schema,
        "raw_table": config.data_warehouse.table,
        "next_schema": warehouse.next_schema,
        "mart_schema": warehouse.mart_schema,
        "fact_table": warehouse.fact_table,
        "attributes": [column.name for column in schema.attributes],
        "currency": [column.name for column in schema.of_role("currency")],
        "allow_returns": schema.has_returns,
        "has_line_total": schema.has_line_total,
        "is_price_computed": schema.is_price_computed,
        "quantity_decimals": schema.quantity_decimals,
        **type_variables(schema),
        "has_own_models": config.transformation.models_path is not None,
        "emulator": False,
        **warehouse.dbt_variables(),
    }


class DbtProcess(AbstractContextManager["DbtProcess"]):
    """A dbt process of one target; it gets ready at once and runs one command.

    Use it as a context manager: the process ends with the context, and its folder goes with it
    unless something failed.
    """

    def __init__(
        self, config: Config, target: str, *, offline: bool = False, turn: Turn | None = None
    ) -> None:
        """Start the process, which imports dbt and reads the project in the background.

        Args:
            config: The configuration.
            target: The warehouse.
            turn: Whose turn it is to build; the process keeps it, should it outlive its parent.
            offline: The command needs no connection, so no credentials are looked for.

        Raises:
            ConfigurationError: dbt is not installed, there are no credentials, or the temporary
                folder is not writable.
        """
        self.target = target
        self._config = config
        self._started = False
        # What may be refused comes before there is anything to clean up.
        check_installed(target)
        known = environment(config, target, offline=offline)
        root = os.environ.get(_FOLDER) or os.environ.get(_FOLDER_IN_0_1)
        parent = Path(root) if root else system_temporary_folder()
        try:
            self._locked = LockedFolder(parent, f"sales-mart-dbt-{target}")
        except OSError as error:
            msg = f"no folder for dbt's files: {error.strerror}"
            raise ConfigurationError(
                msg, remedy=f"Name a folder that this user may write to in {_FOLDER}."
            ) from error
        self.folder = self._locked.path
        with ExitStack() as stack:
            stack.callback(self._locked.close)
            self._project = project_of(
                config.transformation.models_path, schema_of(config), self.folder
            )
            ready, theirs = os.pipe()
            self._ready = stack.enter_context(os.fdopen(ready, "rb"))
            with os.fdopen(theirs, "wb"):
                stack.enter_context(shared_server())
                self._worker = self._start(known, turn, theirs)
            self._open = stack.pop_all()

    def _start(self, known: Mapping[str, str], turn: Turn | None, ready: int) -> Worker:
        warehouse = open_warehouse(self._config, self.target)
        order = {
            "target": self.target,
            "parse": self._arguments("parse", None),
            "project": str(self._project),
            "told": [self.target, variables(self._config, self.target), warehouse.place],
        }
        # Whichever of this process and the worker ends last gives the folder up.
        keep = (self._locked.lock, *([] if turn is None else [turn.descriptor]))
        return start_worker(order, known, self.folder, ready, *keep)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it does, and remove its folder."""
        with self._open, closing(self._worker):
            if not self._started:
                self._worker.kill()  # it has touched no warehouse yet
            self._worker.stdin.close()
            if self._worker.pid is not None:  # else it ends as soon as it begins
                try:
                    self._worker.wait(_END_SECONDS)
                except TimeoutError:
                    self._worker.kill()
                    self._worker.wait()

    @property
    def pid(self) -> int | None:
        """Its number; None as long as it has not begun."""
        return self._worker.pid

    def keep_folder(self) -> None:
        """Leave the folder, with logs and compiled SQL, for a person to look at."""
        self._locked.keep()

    def marts(self) -> tuple[Mart, ...]:
        """Wait until the project is parsed, and return the tables that a build makes.

        Returns:
            The marts; nothing when the project does not parse, or the process has ended, which
            the command then tells.

        Raises:
            ConfigurationError: A table does not say how it is published.
        """
        said = self._ready.read()
        return read_marts(json.loads(said)) if said else ()

    def start(self, command: str, window: Window, options: Sequence[str] = ()) -> None:
        """Send the command; `wait` gives what came of it."""
        arguments = [*self._arguments(command, window), *options]
        warehouse = open_warehouse(self._config, self.target)
        order = {
            "arguments": arguments,
            "outcome": str(self._outcome),
            "progress": str(self._told),
            "schema": warehouse.next_schema if command == "build" else None,
        }
        self._started = True
        _log.debug("%s: dbt %s", self.target, command)
        with suppress(BrokenPipeError):  # `wait` tells how the process ended
            self._worker.stdin.write(json.dumps(order).encode() + b"\n")

    def has_ended(self, seconds: float) -> bool:
        """Wait so long at most for the end of the process; return whether it has come."""
        try:
            self._worker.wait(seconds)
        except TimeoutError:
            return False
        return True

    def progress(self) -> DbtProgress:
        """Return how far the command is."""
        with suppress(OSError):
            told = json.loads(self._told.read_text(encoding="utf-8"))
            return DbtProgress(**told)
        return DbtProgress()

    def wait(self) -> Outcome:
        """Wait until the command has run and read its results.

        Raises:
            TemporaryError: The process was killed.
            UnexpectedError: The process ended without a result.
        """
        status = self._worker.wait()
        if not self._outcome.exists():
            msg = f"dbt for {self.target} ended with status {status} and without a result"
            if status < 0:
                raise TemporaryError(
                    msg, remedy="It was killed: give the process more memory, then run it again."
                )
            self.keep_folder()
            raise UnexpectedError(msg, remedy=f"Its files are in {self.folder}.")
        outcome: dict[str, Any] = json.loads(self._outcome.read_text(encoding="utf-8"))
        nodes, tested = _results(self.folder)
        failures = tuple(Failure(**each) for each in outcome["failures"])
        return Outcome(nodes, tested, failures, outcome["built"], outcome["seconds"])

    def compiled(self) -> dict[str, str]:
        """Return the compiled SQL of every model, by name."""
        manifest = _json(self._manifest)
        return {
            node["name"]: (self.folder / node["compiled_path"]).read_text(encoding="utf-8")
            for node in manifest["nodes"].values()
            if node["resource_type"] == "model" and node.get("compiled_path")
        }

    def artifacts(self) -> dict[str, bytes]:
        """Return what dbt wrote of a build that went well, by the names of the files."""
        return artifacts(self.folder / "target", self.folder, self._project)

    @property
    def _manifest(self) -> Path:
        return self.folder / "target" / "manifest.json"

    @property
    def _told(self) -> Path:
        return self.folder / "progress.json"

    @property
    def _outcome(self) -> Path:
        return self.folder / "outcome.json"

    def _arguments(self, command: str, window: Window) -> list[str]:
        project = str(self._project)
        return [
            command,
            *("--project-dir", project, "--profiles-dir", project, "--target", self.target),
            *("--target-path", str(self.folder / "target"), "--log-path", str(self.folder)),
            *("--vars", _yaml(variables(self._config, self.target, window))),
            *("--no-partial-parse", "--no-version-check", "--no-use-colors", "--quiet"),
        ]


def _yaml(values: dict[str, Any]) -> str:
    """Write values as the JSON that is YAML too.

    YAML knows no pairs of surrogates, and takes some characters outside of ASCII for line breaks.
    """
    text = json.dumps(values, ensure_ascii=False)
    return re.sub(r"[^\x20-\x7e]", lambda found: f"\\U{ord(found[0]):08x}", text)


def environment(config: Config, target: str, *, offline: bool = False) -> dict[str, str]:
    """Return the environment of a process: settings and secrets of its own target, no others."""
    return base_environment() | open_warehouse(config, target).dbt_environment(offline=offline)


def _results(folder: Path) -> tuple[tuple[NodeResult, ...], dict[str, str]]:
    """Read what dbt wrote: the result of every node, and which model a test is about."""
    if not (folder / "target" / "run_results.json").exists():
        return (), {}
    nodes: dict[str, dict[str, Any]] = _json(folder / "target" / "manifest.json")["nodes"]
    results: list[dict[str, Any]] = _json(folder / "target" / "run_results.json")["results"]
    tested = {
        key: str(node.get("attached_node") or "").rpartition(".")[2] for key, node in nodes.items()
    }
    return tuple(_node(folder, result, nodes) for result in results), tested


def _node(folder: Path, result: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> NodeResult:
    compiled = nodes.get(result["unique_id"], {}).get("compiled_path")
    return NodeResult(
        unique_id=result["unique_id"],
        status=result["status"],
        seconds=round(result["execution_time"], 3),
        failures=result["failures"],
        message=result["message"],
        compiled_path=None if compiled is None else str(folder / compiled),
        bytes_billed=(result["adapter_response"] or {}).get("bytes_billed"),
    )


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
