"""What is told when a workflow has ended, however it ended."""

from __future__ import annotations

from hera.workflows import DAG, Task
from hera.workflows.models import ContinueOn

from sales_mart.workflows.templates import WEBHOOK, retries, step

__all__ = ["notify"]


def notify() -> None:
    """Make the exit handler's templates in the present workflow."""
    step(
        "notify",
        *("notify", "--run-id", "{{workflow.name}}", "--status", "{{workflow.status}}"),
        *("--duration", "{{workflow.duration}}", "--failures", "{{workflow.failures}}"),
        secrets=WEBHOOK,
        # Until it has ended, the next run waits.
        retry=retries("2", "20s"),
    )
    # A workflow whose exit handler fails has failed: a webhook that is away must not do that.
    with DAG(name="exit"):
        Task(
            name="notify",
            template="notify",
            continue_on=ContinueOn(failed=True, error=True),
        )
