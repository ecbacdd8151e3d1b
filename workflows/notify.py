"""What is told when a workflow has ended, however it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workflows.templates import WEBHOOK, step

if TYPE_CHECKING:
    from hera.workflows import Container

__all__ = ["notify"]


def notify() -> Container:
    """Make the exit handler's template in the present workflow."""
    return step(
        "notify",
        *("notify", "--run-id", "{{workflow.name}}", "--status", "{{workflow.status}}"),
        *("--duration", "{{workflow.duration}}", "--failures", "{{workflow.failures}}"),
        secrets=WEBHOOK,
    )
