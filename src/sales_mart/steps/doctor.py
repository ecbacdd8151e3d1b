"""A look at the setting before a run: configuration, key, warehouses, lake, source, versions."""

from __future__ import annotations

import platform
import secrets
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from sales_mart.business_date import business_date as find_date
from sales_mart.config.report import chart_values
from sales_mart.errors import BY_SEVERITY, ConfigurationError, SalesMartError, SourceFormatError
from sales_mart.warehouses.base import names, open_warehouse, warehouse_class

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from datetime import date

    from sales_mart.config import Config

__all__ = ["Check", "Report", "examine", "examine_warehouses"]

Status = Literal["ok", "warn", "fail"]

_DISTRIBUTIONS = ("sales-mart", "polars", "polars-hash", "pyarrow", "dbt-core")
_SECONDS = 30


class Check(BaseModel):
    """One finding: what was looked at, how it is, and what to do about it."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: Status
    message: str
    remedy: str = ""
    exit_code: int = 0


class Report(BaseModel):
    """All findings; `exit_code` is that of the most severe."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    checks: tuple[Check, ...]
    exit_code: int


def examine(
    load: Callable[[], tuple[Config, dict[str, str]]],
    business_date: str | None = None,
    chart: Mapping[str, Any] | None = None,
) -> Report:
    """Check everything that a run needs, and change nothing.

    Args:
        load: Loads the configuration and the origins of its values.
        business_date: The day whose source objects are looked for, as a date or a time; None
            means yesterday.
        chart: Values of a Helm release, to compare with the configuration.

    Returns:
        The findings. A failed check does not keep the others from being made.
    """
    found = _Findings()
    found.add("versions", "ok", _versions())
    loaded: list[tuple[Config, dict[str, str]]] = []
    with found.about("configuration"):
        loaded.append(load())
        found.add("configuration", "ok", "every key and value is known")
    for config, origins in loaded:
        for name in names():
            warehouse_class(name)(config).check_credentials(found, origins)
        with found.about("key"):
            _check_key(found, config)
        with found.about("lake"):
            _check_lake(found, config)
        with found.about("source"):
            day = find_date(business_date, config.orchestration.timezone)
            _check_source(found, config, day)
        _check_warehouses(found, config, config.data_warehouse.targets)
        if chart is not None:
            _check_chart(found, config, chart)
    return found.report()


def examine_warehouses(config: Config, targets: Sequence[str]) -> Report:
    """Check that the warehouses can be reached and that the rights suffice; change nothing."""
    found = _Findings()
    _check_warehouses(found, config, targets)
    return found.report()


class _Findings:
    def __init__(self) -> None:
        self.checks: list[Check] = []

    def add(self, name: str, status: Status, message: str, remedy: str = "") -> None:
        self.checks.append(Check(name=name, status=status, message=message, remedy=remedy))

    def report(self) -> Report:
        codes = {check.exit_code for check in self.checks}
        most_severe = next((code for code in BY_SEVERITY if code in codes), 0)
        return Report(checks=tuple(self.checks), exit_code=most_severe)

    @contextmanager
    def about(self, name: str) -> Generator[None]:
        """Turn an error of ours into a failed check."""
        try:
            yield
        except SalesMartError as error:
            self.checks.append(
                Check(
                    name=name,
                    status="fail",
                    message=error.message,
                    remedy=error.remedy,
                    exit_code=error.exit_code,
                )
            )


def _versions() -> str:
    known = [f"python {platform.python_version()}"]
    brought = (each for name in names() for each in warehouse_class(name).packages)
    for name in (*_DISTRIBUTIONS, *brought):
        try:
            known.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            known.append(f"{name} (not installed)")
    return ", ".join(known)


def _check_key(found: _Findings, config: Config) -> None:
    from sales_mart.rows.tokens import plain_warning, tokeniser

    made = tokeniser(config)
    if made.key is not None:
        length = len(made.key.get_secret_value())
        found.add("key", "ok", f"a key of {length} bytes, with the key_id {made.key_id}")
        return
    warning = plain_warning(config) or (
        "identifiers are hashed with plain sha256, as configured: whoever can enumerate them can "
        "undo it"
    )
    found.add("key", "warn", warning, "Prefer hmac-sha256 where no old tokens have to match.")


def _check_lake(found: _Findings, config: Config) -> None:
    from sales_mart.lake.storage import open_storage

    if config.lake is None:
        found.add("lake", "warn", "no lake is configured", "Use --lake, or set data_lake.lake.")
        return
    lake = open_storage(config.lake)
    name, content = f"doctor-{secrets.token_hex(8)}", b"doctor\n"
    made, same = 0, False
    try:
        for _ in range(2):
            # The first one finds its own object where it was asked again, since no answer came.
            with suppress(FileExistsError):
                lake.write(name, content, create=True)
                made += 1
        same = lake.read(name) == content
    except FileNotFoundError:
        same = False
    finally:
        lake.delete(name)
    if not same:
        msg = f"{lake.uri} does not give back what is written to it"
        raise ConfigurationError(
            msg, remedy="Check that the bucket exists, and that the account may use it."
        )
    if made > 1:
        msg = f"{lake.uri} lets two runs create the same object, and tells neither"
        raise ConfigurationError(
            msg,
            remedy="Keep the lake in a store that minds `If-None-Match: *`, as Amazon S3 does, or "
            "on a disk; the source and the export may stay here.",
        )
    found.add("lake", "ok", f"{lake.uri} can be written and read")


def _check_source(found: _Findings, config: Config, business_date: date) -> None:
    from sales_mart.source.address import on_day
    from sales_mart.source.listing import list_objects, shown
    from sales_mart.source.ready import Readiness, not_ready
    from sales_mart.steps.plan import sources

    if not config.sources:
        found.add(
            "source",
            "warn",
            "no source is configured",
            "Use --source with the commands, or set data_lake.source.",
        )
        return
    patterns = [on_day(each, business_date) for each in sources(config)]
    readiness = Readiness.of(config.data_lake)
    strange: list[str] = []
    objects = list_objects(patterns, strange.append, readiness)
    if waiting := not_ready(objects, readiness):
        found.add(
            "delivery",
            "warn",
            f"not ready to be read: {shown(waiting)}",
            "A run ends with 75 until the delivery is whole.",
        )
    size = sum(each.size for each in objects)
    strange += [f"{each.uri} has no bytes" for each in objects if not each.size]
    if strange:
        remedy = (
            "Correct the source; a run names these entries, and ends where a file has no bytes."
        )
        found.add("source entries", "warn", "; ".join(strange[:20]), remedy)
    found.add("source", "ok", f"{', '.join(patterns)}: {len(objects)} objects, {size:,} bytes")
    if objects and not waiting and objects[0].size:
        with found.about("columns"):
            _check_columns(found, config, objects[0].uri)


def _check_columns(found: _Findings, config: Config, uri: str) -> None:
    """Read the start of an object as a run would, and show nothing of it."""
    from sales_mart.source.inspect import missing_in

    problem = missing_in(uri, config)
    if problem is not None:
        raise SourceFormatError(problem[0], remedy=problem[1])
    found.add("columns", "ok", f"{uri} has the columns that are configured")


def _check_warehouses(found: _Findings, config: Config, targets: Sequence[str]) -> None:
    config = _impatient(config, targets)
    for target in targets:
        with found.about(target):
            open_warehouse(config, target).check(found)


def _impatient(config: Config, targets: Sequence[str]) -> Config:
    """Return the configuration with time for a look, not for a load."""
    warehouse = config.data_warehouse
    changed: dict[str, object] = {"lock_timeout": min(warehouse.lock_timeout, _SECONDS)}
    for name in targets:
        section: BaseModel = getattr(warehouse, name)
        timeouts = warehouse_class(name).timeouts
        values = {each: min(getattr(section, each), _SECONDS) for each in timeouts}
        changed[name] = section.model_copy(update=values)
    return config.model_copy(update={"data_warehouse": warehouse.model_copy(update=changed)})


def _check_chart(found: _Findings, config: Config, chart: Mapping[str, Any]) -> None:
    expected = chart_values(config)
    expected.pop("config")
    differing = list(_differences(expected, chart, ""))
    for key, ours, theirs in differing:
        found.add(
            "chart",
            "warn",
            f"{key} is {ours!r} by the configuration and {theirs!r} in the chart's values",
            "The chart's values win; bring the two together with `sales-mart config values`.",
        )
    if not differing:
        found.add("chart", "ok", "the chart's values and the configuration agree")


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str
) -> Generator[tuple[str, Any, Any]]:
    for key, value in ours.items():
        other = theirs.get(key)
        if isinstance(value, dict):
            inner: Mapping[str, Any] = other if isinstance(other, dict) else {}
            yield from _differences(value, inner, f"{path}{key}.")
        elif other is not None and other != value:
            yield f"{path}{key}", value, other
