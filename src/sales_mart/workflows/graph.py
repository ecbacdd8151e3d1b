"""The graph of one run: one pod for all of it, or the steps, shards and warehouses side by side."""

from __future__ import annotations

from hera.workflows import DAG, Gauge, Label, Parameter, Task, WorkflowTemplate

from sales_mart.warehouses.base import shared_warehouses
from sales_mart.workflows.notify import notify
from sales_mart.workflows.spec import ARGUMENTS, labels, workflow_template
from sales_mart.workflows.templates import KEY, WAREHOUSES, secrets_of, step

__all__ = ["daily", "pipeline", "stops"]


def daily() -> WorkflowTemplate:
    """Make the template of one run, of the day that its arguments name."""
    with workflow_template("sales-mart", entrypoint="pipeline") as template:
        template.arguments = [
            Parameter(
                name="business-date",
                value="",
                description="YYYY-MM-DD, or the time of a schedule, which means the day before. "
                "Empty: yesterday.",
            ),
            *ARGUMENTS,
        ]
        stops("sales-mart")
        notify()
        pipeline(run_id="{{workflow.name}}", business_date="{{workflow.parameters.business-date}}")
    return template


def stops(workflow: str) -> None:
    """Make the leaf templates of the pipeline in the present workflow, whose metrics name it."""
    run = ("--run-id", "{{inputs.parameters.run-id}}")
    targets = ("--target", "{{inputs.parameters.targets}}")
    accept = ("--accept", "{{workflow.parameters.accept}}")
    about = (
        *(*run, "--business-date", "{{inputs.parameters.business-date}}"),
        *("--source", "{{workflow.parameters.source}}", "--mode", "{{workflow.parameters.mode}}"),
        *("--target", "{{workflow.parameters.targets}}"),
        *("--shards", "{{workflow.parameters.shards}}"),
    )
    allow_empty = {"SALES_MART_ALLOW_EMPTY": "{{workflow.parameters.allow-empty}}"}
    rows = {"rows-read": "0", "rows-valid": "0", "rows-rejected": "0"}
    published = {"published-at": "0"}
    row_metrics = [_rows(workflow, what) for what in ("read", "valid", "rejected")]
    step(
        "run",
        # As JSON, since a table of the marts is not for a log.
        *("run", *about, *accept, "--output", "json"),
        secrets=(*KEY, *WAREHOUSES),
        variables=allow_empty,
        inputs=["run-id", "business-date"],
        outputs={**rows, **published},
        metrics=[*row_metrics, _published(workflow)],
    )
    step(
        "plan",
        *("plan", *about),
        variables=allow_empty,
        inputs=["run-id", "business-date"],
        outputs={"shards": "[]", "targets": "", "business-date": "", "bytes": "0"},
    )
    step(
        "validate",
        *("validate", *run, "--shard", "{{inputs.parameters.shard}}"),
        secrets=KEY,
        inputs=["run-id", "shard"],
    )
    step(
        "seal",
        *("seal", *run),
        inputs=["run-id"],
        outputs=rows,
        metrics=row_metrics,
    )
    for name in shared_warehouses():
        step(
            f"load-{name}",
            *("load", name, *run, *accept),
            secrets=secrets_of(name),
            inputs=["run-id"],
        )
    step(
        "transform",
        *("transform", *run, *targets, "--select", "{{workflow.parameters.select}}"),
        secrets=WAREHOUSES,
        inputs=["run-id", "targets"],
    )
    step(
        "reconcile",
        *("reconcile", *run, *targets),
        secrets=WAREHOUSES,
        inputs=["run-id", "targets"],
    )
    step(
        "publish",
        *("publish", *run, *targets),
        secrets=WAREHOUSES,
        inputs=["run-id", "targets"],
        outputs=published,
        metrics=[_published(workflow)],
    )
    step("export", *("export", *run), secrets=WAREHOUSES, inputs=["run-id"])


def pipeline(run_id: str | None = None, business_date: str | None = None) -> DAG:
    """Make the graph of one run in the present workflow.

    Args:
        run_id: Name of the run; None leaves it to whoever calls the graph.
        business_date: Its day, likewise.
    """
    given = {"run-id": "{{inputs.parameters.run-id}}"}
    chosen = {**given, "targets": "{{tasks.plan.outputs.parameters.targets}}"}
    day = {**given, "business-date": "{{inputs.parameters.business-date}}"}
    whole = "'{{workflow.parameters.select}}' == ''"
    # One pod publishes what it builds, so a part of the marts is never built by one.
    single = f"'{{{{workflow.parameters.layout}}}}' == 'single' && {whole}"
    small = (
        f"'{{{{workflow.parameters.layout}}}}' == 'auto' && {whole} && "
        "{{tasks.plan.outputs.parameters.bytes}} <= {{workflow.parameters.single-pod-bytes}}"
    )
    with DAG(
        name="pipeline",
        inputs=[
            # Without a value, since Argo takes a None for the text "null".
            Parameter(name=name) if value is None else Parameter(name=name, value=value)
            for name, value in (("run-id", run_id), ("business-date", business_date))
        ],
    ) as graph:
        Task(name="run", template="run", when=single, arguments=day)
        Task(name="plan", template="plan", when=f"!({single})", arguments=day)
        Task(name="run-small", template="run", depends="plan.Succeeded", when=small, arguments=day)
        Task(
            name="validate",
            template="validate",
            depends="plan.Succeeded",
            when=f"!({small})",
            arguments={**given, "shard": "{{item}}"},
            with_param="{{tasks.plan.outputs.parameters.shards}}",
        )
        Task(
            name="seal",
            template="seal",
            # To Argo a task of many pods has succeeded, too, when it was left out.
            depends="plan.Succeeded && validate.Succeeded",
            when=f"!({small})",
            arguments=given,
        )
        for target in shared_warehouses():
            Task(
                name=f"load-{target}",
                template=f"load-{target}",
                # The plan is named too, so that its outputs are there for certain.
                depends="plan.Succeeded && seal.Succeeded",
                when=f"'{{{{tasks.plan.outputs.parameters.targets}}}}' =~ '{target}'",
                arguments=given,
            )
        Task(
            name="transform",
            template="transform",
            depends=" && ".join(
                [
                    "plan.Succeeded",
                    *(
                        f"(load-{name}.Succeeded || load-{name}.Skipped)"
                        for name in shared_warehouses()
                    ),
                ]
            ),
            arguments=chosen,
        )
        for before, name in (("transform", "reconcile"), ("reconcile", "publish")):
            Task(
                name=name,
                template=name,
                depends=f"plan.Succeeded && {before}.Succeeded",
                when=whole,
                arguments=chosen,
            )
        Task(name="export", template="export", depends="publish.Succeeded", arguments=given)
    return graph


def _published(workflow: str) -> Gauge:
    return Gauge(
        name="sales_mart_published_timestamp_seconds",
        help="When the marts were shown last, in seconds since 1970.",
        labels=labels(workflow),
        value="{{outputs.parameters.published-at}}",
        when="{{status}} == Succeeded",
        realtime=False,
    )


def _rows(workflow: str, what: str) -> Gauge:
    return Gauge(
        name="sales_mart_rows",
        help="Rows of the last run, by what became of them.",
        labels=[*labels(workflow), Label(key="rows", value=what)],
        value=f"{{{{outputs.parameters.rows-{what}}}}}",
        when="{{status}} == Succeeded",
        realtime=False,
    )
