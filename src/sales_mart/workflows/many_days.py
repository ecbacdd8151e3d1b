"""Past days, one after the other: a range, or what was never loaded; the first failure ends it."""

from __future__ import annotations

from hera.workflows import DAG, Parameter, Step, Steps, Task, WorkflowTemplate

from sales_mart.workflows.graph import pipeline, stops
from sales_mart.workflows.notify import notify
from sales_mart.workflows.spec import ARGUMENTS, workflow_template
from sales_mart.workflows.templates import WAREHOUSES, step

__all__ = ["backfill"]

_DAY_SECONDS = 86400


def backfill() -> WorkflowTemplate:
    """Make the template of a backfill."""
    with workflow_template("sales-mart-backfill", entrypoint="backfill") as template:
        template.active_deadline_seconds = 2 * _DAY_SECONDS
        template.arguments = [
            Parameter(name="from", value="", description="First business date, YYYY-MM-DD."),
            Parameter(name="to", value="", description="Last business date, YYYY-MM-DD."),
            Parameter(
                name="catch-up",
                value="0",
                description="Instead of a range: days of the last N that are not loaded.",
            ),
            *ARGUMENTS,
        ]
        step(
            "days",
            *("days", "--from", "{{workflow.parameters.from}}"),
            *("--to", "{{workflow.parameters.to}}"),
            *("--catch-up", "{{workflow.parameters.catch-up}}"),
            *("--source", "{{workflow.parameters.source}}"),
            *("--target", "{{workflow.parameters.targets}}"),
            secrets=WAREHOUSES,
            outputs={"days": "[]"},
        )
        stops("sales-mart-backfill")
        pipeline()
        notify()
        # Steps and no graph: a graph that fails fast leaves the days that it did not begin for ever
        # "running", and so the workflow.
        with Steps(
            name="one-by-one", inputs=[Parameter(name="days")], parallelism=1, fail_fast=True
        ):
            Step(
                name="day",
                template="pipeline",
                arguments={
                    "run-id": "{{workflow.name}}-{{item}}",
                    "business-date": "{{item}}",
                },
                with_param="{{inputs.parameters.days}}",
            )
        with DAG(name="backfill"):
            Task(name="days", template="days")
            Task(
                name="one-by-one",
                template="one-by-one",
                depends="days.Succeeded",
                arguments={"days": "{{tasks.days.outputs.parameters.days}}"},
            )
    return template
