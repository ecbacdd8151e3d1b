"""Step `transform`: dbt builds and tests the next marts of every target, where no reader looks."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.dbt_runner.process import DbtProcess, Outcome
from sales_mart.errors import (
    ConfigurationError,
    SalesMartError,
    TemporaryError,
    TestFailedError,
    UnexpectedError,
)
from sales_mart.lake.records import NodeResult, TargetTransform, Transform
from sales_mart.lake.storage import is_bucket
from sales_mart.lake.temporary import Turn
from sales_mart.logs import most_severe
from sales_mart.marts import Mart, check_manifest, marts_of
from sales_mart.progress import expect, reach
from sales_mart.warehouses.base import open_warehouse
from sales_mart.warehouses.history import pending_window

if TYPE_CHECKING:
    from sales_mart.config import Config
    from sales_mart.dbt_runner.failure import Failure
    from sales_mart.lake.runs import RunFolder
    from sales_mart.warehouses.windows import Window

__all__ = ["WarmDbt", "error_of", "transform", "transform_sql", "warm"]

_log = logging.getLogger(__name__)

_SHOWN = 3
# To dbt a name that it does not know is a warning, which nobody would see.
_NOT_FOUND = '{"error": ["NoNodesForSelectionCriteria"]}'
_LOOK_SECONDS = 0.2
_SELECT = "Name models, such as fact_sales, in dbt's selection syntax."
# Unit tests prove the logic on made-up rows; they belong to the tests of the project.
_BUILD_OPTIONS = ("--resource-type", "model", "--resource-type", "test", "--cache-selected-only")
_REMEDIES: dict[type[SalesMartError], str] = {
    ConfigurationError: "Correct the named setting or permission.",
    TemporaryError: "Run the same command again.",
    UnexpectedError: "Please report this as a bug, with the named file.",
}
_KINDS = {kind.__name__: kind for kind in _REMEDIES}


class WarmDbt:
    """dbt processes that got ready while other work went on, one per target."""

    def __init__(self, turn: Turn | None = None) -> None:
        self._processes: dict[str, DbtProcess] = {}
        self.turn = turn

    def start(self, config: Config, target: str) -> None:
        """Start the process of a target."""
        self._processes[target] = DbtProcess(config, target, turn=self.turn)

    def take(self, target: str) -> DbtProcess | None:
        """Return the process of a target, once: a process runs one command."""
        return self._processes.pop(target, None)

    def close(self) -> None:
        """End the processes that nobody took."""
        while self._processes:
            self._processes.popitem()[1].close()


@contextmanager
def warm(
    config: Config, targets: Sequence[str], run: RunFolder | None = None
) -> Generator[WarmDbt]:
    """Start dbt for the targets in the background; what is left over ends with the context.

    Raises:
        ConfigurationError: There are no credentials, or no folder for dbt's files.
    """
    with _in_line(run) as turn, closing(WarmDbt(turn)) as pool:
        for target in targets:
            pool.start(config, target)
        yield pool


@contextmanager
def _in_line(run: RunFolder | None) -> Generator[Turn | None]:
    """Get in line with all that build from the same lake, where that is a folder.

    Two dbts would take the tables that they build from one another.
    """
    runs = None if run is None or is_bucket(run.uri) else Path(run.uri).parent
    if runs is None or not runs.is_dir():
        yield None
        return
    with closing(Turn(runs)) as turn:
        yield turn


def transform(  # noqa: PLR0913 - keyword-only, each a choice of the caller
    config: Config,
    run: RunFolder,
    targets: Sequence[str],
    *,
    select: str | None = None,
    full_refresh: bool = False,
    warm: WarmDbt | None = None,
) -> Transform:
    """Build and test the next marts of all targets at once; write the record `transform`.

    Args:
        config: The configuration.
        run: The run, which must be the latest load of every target.
        targets: Warehouses to build in.
        select: Models to build, in dbt's selection syntax. A part of the marts can't be
            published, so no record is written then.
        full_refresh: Build all marts anew from the raw table, whatever was published before.
        warm: Processes that are ready already, from `warm`.

    Raises:
        ConfigurationError: dbt or the warehouse refuses a setting; nothing is selected.
        SupersededError: A newer run was loaded.
        TemporaryError: A warehouse does not answer, or another run builds for too long.
        TestFailedError: A test failed; nothing of this run is shown.
        UnexpectedError: A statement failed.
    """
    options = [*_BUILD_OPTIONS]
    if select is not None:
        _check_selection(select)
        # Tests that need a model which is not selected stay out.
        options += ["--select", select, "--indirect-selection", "cautious"]
        options += ["--warn-error-options", _NOT_FOUND]
    with ExitStack() as stack:
        turn = warm.turn if warm is not None else None
        turn = turn or stack.enter_context(_in_line(run))
        if turn is not None:
            turn.take(config.data_warehouse.lock_timeout)
        pending = {target: _pending(config, run, target) for target in targets}
        if full_refresh:
            pending = {target: (sequence, None) for target, (sequence, _) in pending.items()}
        # From here on the next marts are in pieces: no earlier record may stand for them.
        run.forget("transform", "reconcile")
        processes: dict[str, DbtProcess] = {}
        for target in targets:
            ready = warm.take(target) if warm is not None else None
            processes[target] = stack.enter_context(ready or DbtProcess(config, target, turn=turn))
        marts = {target: _marts(config, process) for target, process in processes.items()}
        for target, process in processes.items():
            process.start("build", pending[target][1], options)
        _watch(processes)
        outcomes = {target: process.wait() for target, process in processes.items()}
        errors = [
            error
            for target, outcome in outcomes.items()
            if (error := error_of(target, outcome, processes[target])) is not None
        ]
        whole = select is None and not errors
        files = {name: each.artifacts() for name, each in processes.items()} if whole else {}
    if errors:
        raise most_severe(errors)
    if not all(outcome.nodes for outcome in outcomes.values()):
        msg = f"no model and no test is selected by {select!r}, so nothing was built or tested"
        raise ConfigurationError(msg, remedy=_SELECT)
    record = Transform(
        run_id=run.run_id,
        targets=tuple(
            TargetTransform(
                target=target,
                sequence=sequence,
                window=window,
                nodes=tuple(
                    _kept(node, outcomes[target].tested) for node in outcomes[target].nodes
                ),
                seconds=outcomes[target].seconds,
                built=open_warehouse(config, target).built_tables(outcomes[target].built),
                full_refresh=full_refresh,
                marts=marts[target],
            )
            for target, (sequence, window) in pending.items()
        ),
    )
    if select is None:
        for target, (_, window) in pending.items():
            open_warehouse(config, target).after_build(window)
            _keep_files(run, target, files[target])
        run.write("transform", record)
    _log.info("marts of run %s built and tested in %s", run.run_id, ", ".join(targets))
    return record


def _watch(processes: Mapping[str, DbtProcess]) -> None:
    """Tell how far the processes are together, until all have ended."""
    waiting = list(processes)
    is_expected = False
    while waiting:
        waiting = [
            name for name in waiting if not processes[name].has_ended(_LOOK_SECONDS / len(waiting))
        ]
        told = {name: each.progress() for name, each in processes.items()}
        if not all(each.total for each in told.values()):
            continue  # a share of those that are known would shrink
        if not is_expected:
            expect("models and tests", sum(each.total for each in told.values()))
            is_expected = True
        done = sum(told[name].done if name in waiting else told[name].total for name in told)
        items = [f"{name}: {told[name].item}" for name in waiting]
        reach(done, ", ".join(items))


def _keep_files(run: RunFolder, target: str, files: Mapping[str, bytes]) -> None:
    """Keep dbt's own account of a build with the run."""
    for name, content in files.items():
        run.lake.write(run.name(f"dbt/{target}/{name}"), content)


def _check_selection(select: str) -> None:
    """Refuse what dbt would take for an option, or for nothing.

    Raises:
        ConfigurationError: It is one of them.
    """
    words = select.split()
    if not words or any(word.startswith("-") for word in words):
        msg = f"{select!r} does not name models: it is blank, or looks like an option"
        raise ConfigurationError(msg, remedy=_SELECT)


def _marts(config: Config, process: DbtProcess) -> tuple[Mart, ...]:
    """Return what a build will make, each table of which is published and compared."""
    marts = process.marts()
    if marts:  # else the project does not parse, which the build will say
        check_manifest(marts, marts_of(open_warehouse(config, process.target)))
    return marts


def transform_sql(config: Config, target: str, window: Window = None) -> dict[str, str]:
    """Compile the models without a connection: name of the model -> SQL.

    Raises:
        ConfigurationError: The project does not compile with this configuration.
    """
    with DbtProcess(config, target, offline=True) as process:
        process.start("compile", window, ("--no-introspect", "--no-populate-cache"))
        outcome = process.wait()
        error = error_of(target, outcome, process)
        if error is not None:
            raise error
        return process.compiled()


def _pending(config: Config, run: RunFolder, target: str) -> tuple[int, Window]:
    """Return the load to build from and its window, if the run is the latest load."""
    warehouse = open_warehouse(config, target)
    with warehouse.session() as session:
        pending = pending_window(session, run.run_id)
    warehouse.before_build()
    return pending


def error_of(target: str, outcome: Outcome, process: DbtProcess) -> SalesMartError | None:
    """Tell what went wrong on a target; None when nothing did."""
    failures = {failure.node: failure for failure in outcome.failures}
    errors = [
        _node_error(target, node, failures.get(node.unique_id))
        for node in outcome.nodes
        if node.status == "error"
    ]
    failed = [node for node in outcome.nodes if node.status == "fail"]
    if None in failures:
        text = " ".join(failures[None].message.split())
        errors.append(_error(f"{target}: dbt failed: {text}", failures[None], {"target": target}))
    if failed:
        errors.append(_tests_failed(target, failed, outcome.tested))
    if not errors:
        return None
    process.keep_folder()
    error = most_severe(errors)
    error.details["dbt_log"] = str(process.folder / "dbt.log")
    return error


def _tests_failed(
    target: str, failed: Sequence[NodeResult], tested: Mapping[str, str]
) -> TestFailedError:
    shown = "; ".join(
        f"{_name(node)} of {tested.get(node.unique_id) or 'the marts'} "
        f"has {node.failures} failures, see {node.compiled_path}"
        for node in failed[:_SHOWN]
    )
    more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    return TestFailedError(
        f"{target}: {len(failed)} dbt test{'s' if len(failed) > 1 else ''} failed: {shown}{more}",
        remedy="Readers still see the previous marts. Run the SQL of that file to see the rows.",
        details={"target": target, "tests": [node.model_dump(mode="json") for node in failed]},
    )


def _node_error(target: str, node: NodeResult, failure: Failure | None) -> SalesMartError:
    return _error(
        f"{target}: dbt {_name(node)} failed: {' '.join((node.message or '').split())}",
        failure,
        {"target": target, "node": node.model_dump(mode="json")},
    )


def _error(message: str, failure: Failure | None, details: Mapping[str, object]) -> SalesMartError:
    """Make the error that a failure is; dbt reports few without one, and none that we know."""
    kind = _KINDS[failure.kind] if failure else UnexpectedError
    return kind(message, remedy=_REMEDIES[kind], details=details)


def _name(node: NodeResult) -> str:
    """`model.sales_mart.fact_sales` is fact_sales; a generic test has its digest behind it."""
    return node.unique_id.split(".")[2]


def _kept(node: NodeResult, tested: Mapping[str, str]) -> NodeResult:
    """Drop the path of a file that goes with dbt's folder, and say what a test is about."""
    about = tested.get(node.unique_id) or None
    return node.model_copy(update={"compiled_path": None, "message": None, "tests": about})
