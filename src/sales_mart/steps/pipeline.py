"""The whole pipeline in one process, from plan to export.

Every step is the same function that a pod calls, and may be called again at any time: so a run that
was ended at any instant comes to its end when it is started again.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from sales_mart.errors import ConfigurationError, SalesMartError, TemporaryError
from sales_mart.lake.disk import temporary_folder
from sales_mart.lake.records import Run
from sales_mart.lake.runs import RunFolder
from sales_mart.lake.storage import open_storage
from sales_mart.logs import at_step, most_severe
from sales_mart.progress import Progress, expect, measured
from sales_mart.steps.load import load
from sales_mart.steps.plan import plan as make_plan
from sales_mart.steps.seal import seal as close_input
from sales_mart.steps.shards import RANGE_BYTES, shard_bytes
from sales_mart.steps.status import RunSummary, summarise
from sales_mart.steps.validate import validate_shard
from sales_mart.warehouses.admission import LoadOptions
from sales_mart.warehouses.base import check_installed
from sales_mart.workers import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from datetime import date

    from sales_mart.config import Config
    from sales_mart.lake.records import Mode, Plan
    from sales_mart.lake.storage import Storage

__all__ = ["StepEvent", "run", "together"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class StepEvent(NamedTuple):
    """A step has begun, works, or has ended.

    Attributes:
        step: Name of the step, `load-postgres` for instance.
        state: `begun`, `working`, `ended` or `failed`.
        seconds: How long it took; 0 when it has not ended.
        progress: How far it is; None unless it is working.
    """

    step: str
    state: Literal["begun", "working", "ended", "failed"]
    seconds: float = 0.0
    progress: Progress | None = None


def run(  # noqa: PLR0913 - keyword-only, each a choice of the caller
    config: Config,
    lake: Storage | str,
    *,
    business_date: date,
    source: str | Sequence[str] | None = None,
    mode: Mode | None = None,
    run_id: str | None = None,
    shards: int | None = None,
    workers: int | None = None,
    targets: Sequence[str] | None = None,
    destination: str | None = None,
    progress: Callable[[StepEvent], None] | None = None,
    dry_run: bool = False,
    allow_empty: bool = False,
    full_refresh: bool = False,
    accept_new_key: bool = False,
    accept_new_rules: bool = False,
) -> RunSummary:
    """Run the whole pipeline.

    Args:
        config: The configuration.
        lake: Where runs are kept: a folder or a bucket prefix.
        business_date: Day that the input belongs to; it replaces `{date}` in the source.
        source: Files, folders or globs. Default: the configuration's source.
        mode: Default: `append` for a daily source, `replace` for a snapshot.
        run_id: Default: derived from the inputs, the business date and the configuration.
        shards: At most this many groups of objects and ranges. Default: one for each worker, where
            there are bytes enough.
        workers: Shards that are validated at the same time. Default: by cores and memory.
        targets: Warehouses. Default: the configuration's.
        destination: Folder or bucket prefix of the export. Default: `data_mart.export`, else
            `<lake>/export`.
        progress: Is told of every step that begins or ends, and of `validate`, the loads and
            `transform` how far they are, ten times a second at most; from several threads. What it
            raises ends the run.
        dry_run: Check the input in a temporary lake, and that the warehouses can be reached and
            that the marts compile, and change nothing.
        allow_empty: Take files of no bytes for empty ones, and accept rows of which the marts
            show none.
        full_refresh: Build and publish all marts anew from the raw table, whatever was published.
        accept_new_key: Let a snapshot replace rows whose tokens have another key.
        accept_new_rules: Let a batch be appended by rules that admit rows which earlier loads
            have rejected.

    Returns:
        How it went.

    Raises:
        SalesMartError: A step failed; `details["step"]` names it.
    """
    steps = _Steps(progress or _ignore)
    workers = workers or default_workers()
    chosen = tuple(config.data_warehouse.targets if targets is None else targets)
    for target in chosen:
        check_installed(target)
    with ExitStack() as stack:
        if dry_run:
            lake = str(stack.enter_context(temporary_folder("sales-mart-dry-run")))
        storage = open_storage(lake) if isinstance(lake, str) else lake
        with steps.step("plan"):
            made = make_plan(
                config,
                storage,
                source=source,
                business_date=business_date,
                mode=mode,
                run_id=run_id,
                shards=shards or workers,
                shard_bytes=0 if shards else RANGE_BYTES,
                allow_empty=allow_empty,
            )
        place = RunFolder(storage, made.run_id)
        # Two processes of one run would do each other no harm, but the one would take away the
        # records that the other has just written.
        stack.enter_context(place.alone(config.data_warehouse.lock_timeout))
        with at_step(run_id=made.run_id):
            if dry_run:
                _rehearse(steps, config, place, made, chosen, workers)
            else:
                options = LoadOptions(accept_new_key, accept_new_rules, run_id is not None)
                _run_steps(
                    *(steps, config, place, made, chosen, destination, options),
                    workers=workers,
                    full_refresh=full_refresh,
                )
        place.write("run", Run(run_id=made.run_id, seconds=steps.seconds))
        summary = summarise(place)
        # The quarantine of a dry run goes with its lake.
        gone = {"dry_run": True, "quarantine": None} if dry_run else {}
        return summary.model_copy(update=gone)


def _ignore(_: StepEvent) -> None:
    """Take no notice."""


class _Steps:
    """Measures the steps, names them in logs and errors, and tells of them."""

    def __init__(self, progress: Callable[[StepEvent], None]) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        begun = time.monotonic()
        state: Literal["ended", "failed"] = "failed"
        self._progress(StepEvent(name, "begun"))
        try:
            with at_step(name), measured(partial(self._tell, name)):
                yield
                state = "ended"
                seconds = time.monotonic() - begun
                _log.info("done in %.1f s", seconds, extra={"seconds": round(seconds, 3)})
        except SalesMartError as error:
            error.details.setdefault("step", name)
            raise
        finally:
            self.seconds[name] = round(time.monotonic() - begun, 3)
            self._progress(StepEvent(name, state, self.seconds[name]))

    def _tell(self, name: str, progress: Progress) -> None:
        self._progress(StepEvent(name, "working", progress=progress))


def _run_steps(  # noqa: PLR0913 - what the pipeline needs
    steps: _Steps,
    config: Config,
    place: RunFolder,
    made: Plan,
    targets: Sequence[str],
    destination: str | None,
    options: LoadOptions,
    *,
    workers: int,
    full_refresh: bool,
) -> None:
    from sales_mart.steps.export import export
    from sales_mart.steps.publish import publish
    from sales_mart.steps.reconcile import reconcile
    from sales_mart.steps.transform import transform, warm

    # dbt takes seconds to start, nearly all of them imports: it does so while the loads work.
    with warm(config, targets, place) as ready:
        _close_input(steps, config, place, made, workers)
        together(
            {
                f"load-{target}": partial(_load, steps, config, place, target, options)
                for target in targets
            }
        )
        with steps.step("transform"):
            transform(config, place, targets, full_refresh=full_refresh, warm=ready)
    with steps.step("reconcile"):
        reconcile(config, place, targets)
    with steps.step("publish"):
        publish(config, place, targets)
    # The report shows what the steps before it took.
    place.write("run", Run(run_id=made.run_id, seconds=steps.seconds))
    with steps.step("export"):
        export(config, place, destination)


def _close_input(steps: _Steps, config: Config, place: RunFolder, made: Plan, workers: int) -> None:
    with steps.step("validate"):
        _validate(config, place, made, workers)
    with steps.step("seal"):
        close_input(config, place)


def _validate(config: Config, place: RunFolder, made: Plan, workers: int) -> None:
    """Validate the shards, each worker one after another, until all are done or one has failed."""
    shards = range(len(made.shards))
    expect("bytes", sum(shard_bytes(made, shard) for shard in shards))
    waiting = deque(shards)

    def work() -> None:
        while True:
            try:
                shard = waiting.popleft()
            except IndexError:
                return
            try:
                validate_shard(config, place, shard)
            except BaseException:
                waiting.clear()
                raise

    count = min(len(shards), workers)
    if count == 1:
        work()
    else:
        together({f"validate-{number}": work for number in range(count)})


def _load(
    steps: _Steps, config: Config, place: RunFolder, target: str, options: LoadOptions
) -> None:
    with steps.step(f"load-{target}"):
        load(config, place, target, options)


def _rehearse(  # noqa: PLR0913 - what the pipeline needs
    steps: _Steps,
    config: Config,
    place: RunFolder,
    made: Plan,
    targets: Sequence[str],
    workers: int,
) -> None:
    from sales_mart.steps.doctor import examine_warehouses
    from sales_mart.steps.transform import transform_sql

    _close_input(steps, config, place, made, workers)
    with steps.step("warehouses"):
        report = examine_warehouses(config, targets)
        failed = [check for check in report.checks if check.status == "fail"]
        if failed:
            kind = TemporaryError if report.exit_code == TemporaryError.exit_code else None
            message = "\n".join(check.message for check in failed)
            raise (kind or ConfigurationError)(message, remedy=failed[0].remedy)
    with steps.step("compile"):
        together({target: partial(transform_sql, config, target) for target in targets})


def together(tasks: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Run the tasks at the same time, each in a thread, and give their results.

    The threads are daemons: a process that is told to end does not wait for a server's answer.

    Raises:
        SalesMartError: A task failed: the most severe, the others are logged.
    """
    results: dict[str, T] = {}
    errors: dict[str, BaseException] = {}

    def work(name: str, task: Callable[[], T]) -> None:
        try:
            results[name] = task()
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            errors[name] = error

    threads = [
        threading.Thread(
            target=contextvars.copy_context().run, args=(work, name, task), daemon=True, name=name
        )
        for name, task in tasks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise most_severe([errors[name] for name in tasks if name in errors])
    return results
