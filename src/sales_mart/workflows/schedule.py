"""The schedule: a reference and the time at which it fired, nothing that grants rights."""

from __future__ import annotations

from hera.workflows import CronWorkflow
from hera.workflows.models import Arguments, Parameter, WorkflowTemplateRef

__all__ = ["cron"]


def cron() -> CronWorkflow:
    """Make the schedule of the daily run."""
    return CronWorkflow(
        name="sales-mart",
        schedules=["0 0 * * *"],
        timezone="UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=3600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        workflow_template_ref=WorkflowTemplateRef(name="sales-mart"),
        arguments=Arguments(
            # The time that the schedule asked for: the command takes the day that had just ended.
            parameters=[Parameter(name="business-date", value="{{workflow.scheduledTime}}")]
        ),
    )
