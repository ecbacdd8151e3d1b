"""The steps of the pipeline, one command each: on Kubernetes, one pod each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from sales_mart.cli.outputs import publication_outputs, row_outputs, warn_of_rejects
from sales_mart.cli.progress import one_step
from sales_mart.cli.session import RunCommand, Session, given
from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from datetime import date

    from sales_mart.lake.records import Mode
    from sales_mart.warehouses.admission import LoadOptions

__all__ = [
    "Accept",
    "AcceptNewKey",
    "AcceptNewRules",
    "AllowEmpty",
    "BusinessDate",
    "Destination",
    "FullRefresh",
    "ModeName",
    "Outputs",
    "Shards",
    "Source",
    "Targets",
    "add_to",
    "load_options",
    "plan_options",
]

PANEL = "The steps of the pipeline"

# A workflow has one command line for all runs: what it leaves empty is not given.
Source = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="File, folder or glob, local or in a bucket; may be repeated, or several as a list in "
        "JSON.",
    ),
]
BusinessDate = Annotated[
    str | None,
    typer.Option(
        "--business-date",
        metavar="DATE|TIME",
        help="YYYY-MM-DD as it stands; or the time at which a schedule fired, which means the "
        "day before it. Default: yesterday. Both in orchestration.timezone.",
    ),
]
ModeName = Annotated[
    str | None,
    typer.Option(
        "--mode",
        metavar="replace|append",
        help="Default: append for a source with {date}, else replace.",
    ),
]
Shards = Annotated[
    int, typer.Option("--shards", min=1, help="Most groups of files and of ranges of large ones.")
]
AllowEmpty = Annotated[
    bool,
    typer.Option(
        "--allow-empty",
        envvar="SALES_MART_ALLOW_EMPTY",
        help="Accept files of no bytes, and rows of which the marts show none.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Warehouse, such as postgres or bigquery; may be repeated, or several with commas. "
        "Default: all configured.",
    ),
]
Outputs = Annotated[
    str | None,
    typer.Option(
        "--outputs", metavar="FOLDER", help="Folder for the files that a workflow passes on."
    ),
]

AcceptNewKey = Annotated[
    bool,
    typer.Option("--accept-new-key", help="Replace tokens of another key by a snapshot."),
]
AcceptNewRules = Annotated[
    bool,
    typer.Option(
        "--accept-new-rules",
        help="Append although the rules accept rows that earlier loads rejected, or another column "
        "is the currency.",
    ),
]
# As a workflow passes it on: one text, empty in most runs.
Accept = Annotated[
    str | None,
    typer.Option("--accept", metavar="new-key|new-rules", help="Both, as one text.", hidden=True),
]

Destination = Annotated[
    str | None,
    typer.Option(
        "--destination",
        metavar="PLACE",
        help="Folder or bucket prefix. Default: data_mart.export, else <lake>/export.",
    ),
]


FullRefresh = Annotated[
    bool,
    typer.Option(
        "--full-refresh",
        help="Build all marts anew from the raw table, and publish them whole: when published "
        "marts were changed by hand.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for name, function in (
        ("plan", _plan),
        ("validate", _validate),
        ("seal", _seal),
        ("load", _load),
        ("transform", _transform),
        ("reconcile", _reconcile),
        ("publish", _publish),
        ("export", _export),
    ):
        app.command(name, cls=RunCommand, rich_help_panel=PANEL)(function)


class PlanOptions(TypedDict):
    """What `plan` and `run` take of the command line alike."""

    source: list[str] | None
    business_date: date
    mode: Mode | None
    run_id: str | None
    allow_empty: bool


def plan_options(
    session: Session,
    source: list[str] | None,
    business_date: str | None,
    mode: str | None,
    *,
    allow_empty: bool,
) -> PlanOptions:
    """Read the options that say what a run is about.

    Raises:
        ConfigurationError: There is no such date or mode.
    """
    from sales_mart.business_date import business_date as find_date

    return {
        "source": given(source),
        "business_date": find_date(business_date or None, session.config.orchestration.timezone),
        "mode": _mode(mode),
        "run_id": session.run_id,
        "allow_empty": allow_empty,
    }


def load_options(text: str | None = None, *, new_key: bool, new_rules: bool) -> LoadOptions:
    """Read what is accepted, as flags or as one text with commas.

    Raises:
        ConfigurationError: The text names something else.
    """
    from sales_mart.warehouses.admission import LoadOptions

    named = {each.strip() for each in (text or "").split(",")} - {""}
    if others := named - {"new-key", "new-rules"}:
        msg = f"{', '.join(sorted(others))!r} cannot be accepted"
        raise ConfigurationError(msg, remedy="Accept new-key, new-rules, or both with a comma.")
    return LoadOptions(new_key or "new-key" in named, new_rules or "new-rules" in named)


def _mode(name: str | None) -> Mode | None:
    from sales_mart.lake.records import Mode

    try:
        return Mode(name) if name else None
    except ValueError:
        msg = f"{name!r} is not a mode"
        raise ConfigurationError(msg, remedy=f"The modes are {', '.join(Mode)}.") from None


def _plan(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    *,
    source: Source = None,
    business_date: BusinessDate = None,
    mode: ModeName = None,
    shards: Shards = 1,
    allow_empty: AllowEmpty = False,
    target: Targets = None,
    outputs: Outputs = None,
) -> None:
    """Find the source's objects and cut them into shards."""
    from sales_mart.rows.tokens import warn_of_plain_tokens
    from sales_mart.steps.plan import plan

    session: Session = ctx.obj
    config = session.config
    warn_of_plain_tokens(config)
    targets = session.targets(target)
    options = plan_options(session, source, business_date, mode, allow_empty=allow_empty)
    made = plan(config, session.lake, shards=shards, **options)
    session.hand_over(
        outputs,
        {
            "business-date": made.business_date,
            "shards": list(range(len(made.shards))),
            "targets": ",".join(targets),
            "bytes": sum(each.size for each in made.objects),
        },
    )
    session.emit(made)


def _validate(
    ctx: typer.Context,
    *,
    shard: Annotated[
        int | None, typer.Option("--shard", min=0, help="Number of a shard. Default: all of them.")
    ] = None,
) -> None:
    """Check the rows, replace identifiers by tokens, quarantine what is not valid."""
    from sales_mart.lake.records import Plan
    from sales_mart.progress import expect
    from sales_mart.steps.shards import shard_bytes
    from sales_mart.steps.validate import validate_shard

    session: Session = ctx.obj
    run = session.run()
    plan = run.read("plan", Plan)
    known = range(len(plan.shards))
    shards = known if shard is None else [shard]
    with one_step(session, "validate"):
        expect("bytes", sum(shard_bytes(plan, each) for each in shards if each in known))
        records = [validate_shard(session.config, run, each) for each in shards]
    if shard is not None:
        session.emit(records[0])
        return
    session.emit(
        {
            "run_id": run.run_id,
            "shards": len(records),
            "rows_read": sum(record.rows_read for record in records),
            "rows_valid": sum(record.rows_valid for record in records),
            "rows_rejected": sum(record.rows_rejected for record in records),
        }
    )


def _seal(ctx: typer.Context, *, outputs: Outputs = None) -> None:
    """Settle duplicates across shards and close the input."""
    from sales_mart.steps.seal import seal

    session: Session = ctx.obj
    run = session.run()
    sealed = seal(session.config, run)
    warn_of_rejects(sealed, f"{run.uri}/quarantine")
    session.hand_over(outputs, row_outputs(sealed))
    session.emit(sealed)


def _load(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Warehouse, such as postgres or bigquery.")
    ] = None,
    *,
    target_option: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="The same as an option.")
    ] = None,
    accept_new_key: AcceptNewKey = False,
    accept_new_rules: AcceptNewRules = False,
    accept: Accept = None,
) -> None:
    """Put the run's rows into the raw table of one warehouse, in one transaction."""
    from sales_mart.steps.load import load
    from sales_mart.warehouses.base import names

    session: Session = ctx.obj
    chosen = target or target_option
    if chosen is None or (target and target_option and target != target_option):
        msg = "load works on one warehouse"
        commands = " or ".join(f"`sales-mart load {name}`" for name in names())
        raise ConfigurationError(msg, remedy=f"Write {commands}.")
    options = load_options(accept, new_key=accept_new_key, new_rules=accept_new_rules)
    for name in session.targets([chosen]):
        with one_step(session, f"load-{name}"):
            loaded = load(session.config, session.run(), name, options)
        session.emit(loaded)


def _transform(
    ctx: typer.Context,
    *,
    target: Targets = None,
    select: Annotated[
        str | None,
        typer.Option(
            "--select",
            metavar="MODELS",
            help="Build and test only these, in dbt's syntax, to look at: a part of the marts "
            "can't be published.",
        ),
    ] = None,
    full_refresh: FullRefresh = False,
) -> None:
    """Build and test the marts of all warehouses where no reader looks."""
    from sales_mart.steps.transform import transform

    session: Session = ctx.obj
    targets = session.targets(target)
    with one_step(session, "transform"):
        built = transform(
            session.config, session.run(), targets, select=select or None, full_refresh=full_refresh
        )
    session.emit(built)


def _reconcile(ctx: typer.Context, *, target: Targets = None) -> None:
    """Compare the warehouses with each other and with the sealed input."""
    from sales_mart.steps.reconcile import reconcile

    session: Session = ctx.obj
    session.emit(reconcile(session.config, session.run(), session.targets(target)))


def _publish(ctx: typer.Context, *, target: Targets = None, outputs: Outputs = None) -> None:
    """Make the tested and reconciled marts the ones that readers see."""
    from sales_mart.steps.publish import publish

    session: Session = ctx.obj
    published = publish(session.config, session.run(), session.targets(target))
    session.hand_over(outputs, publication_outputs(published.published_at))
    session.emit(published)


def _export(ctx: typer.Context, *, destination: Destination = None) -> None:
    """Write the published monthly summary as JSON, CSV and Parquet, and the report of the run."""
    from sales_mart.steps.export import export

    session: Session = ctx.obj
    session.emit(export(session.config, session.run(), destination or None))
