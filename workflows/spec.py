"""What the workflow templates have in common: limits, security, locks, and what is told after."""

from __future__ import annotations

import json

from hera.workflows import Counter, Gauge, Label, Parameter, WorkflowTemplate
from hera.workflows.models import (
    IntOrString,
    Metadata,
    Mutex,
    PodDisruptionBudgetSpec,
    PodGC,
    PodSecurityContext,
    SeccompProfile,
    Synchronization,
    TTLStrategy,
)

from workflows.templates import volumes

__all__ = ["ARGUMENTS", "workflow_template"]

_USER = 10001
_HOUR, _DAY = 3600, 86400

_LOCKED_DOWN = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# The executor's own containers get no security context from a controller as it is installed.
_EXECUTOR_PATCH = json.dumps(
    {
        "initContainers": [{"name": "init", "securityContext": _LOCKED_DOWN}],
        "containers": [{"name": "wait", "securityContext": _LOCKED_DOWN}],
    }
)

ARGUMENTS = (
    Parameter(name="source", value="", description="Files or a glob. Empty: as configured."),
    Parameter(
        name="mode",
        value="",
        description="replace or append. Empty: append for a source with {date}, else replace.",
    ),
    Parameter(
        name="targets",
        value="",
        description="postgres, bigquery or both with a comma. Empty: as configured.",
    ),
    Parameter(
        name="select",
        value="",
        description="Models to build and test only, in dbt's syntax; nothing is published then.",
    ),
    Parameter(name="shards", value="1", description="Most pods that validate side by side."),
)
"""Arguments of every template, each with a default."""


def workflow_template(name: str, *, entrypoint: str) -> WorkflowTemplate:
    """Make a workflow template without its templates and arguments.

    What may run with which rights stays here, and not in the cron: a submitter can't change it
    where the controller allows references only.
    """
    return WorkflowTemplate(
        name=name,
        entrypoint=entrypoint,
        on_exit="notify",
        service_account_name="sales-mart",
        pod_metadata=Metadata(labels={"app.kubernetes.io/name": "sales-mart"}),
        security_context=PodSecurityContext(
            run_as_non_root=True,
            run_as_user=_USER,
            run_as_group=_USER,
            fs_group=_USER,
            fs_group_change_policy="OnRootMismatch",
            seccomp_profile=SeccompProfile(type="RuntimeDefault"),
        ),
        pod_spec_patch=_EXECUTOR_PATCH,
        volumes=volumes(),
        parallelism=4,
        active_deadline_seconds=4 * _HOUR,
        ttl_strategy=TTLStrategy(
            seconds_after_success=_DAY,
            seconds_after_failure=7 * _DAY,
            seconds_after_completion=7 * _DAY,
        ),
        pod_gc=PodGC(strategy="OnPodSuccess", delete_delay_duration="600s"),
        pod_disruption_budget=PodDisruptionBudgetSpec(min_available=IntOrString(root="100%")),
        synchronization=Synchronization(
            mutexes=[Mutex(name="sales-mart-postgres"), Mutex(name="sales-mart-bigquery")]
        ),
        metrics=[
            Counter(
                name="sales_mart_runs_total",
                help="Workflows that ended, by how they ended.",
                labels=[
                    Label(key="workflow", value=name),
                    Label(key="status", value="{{workflow.status}}"),
                ],
                value="1",
            ),
            Gauge(
                name="sales_mart_duration_seconds",
                help="How long the last workflow took.",
                labels=[Label(key="workflow", value=name)],
                value="{{workflow.duration}}",
                realtime=False,
            ),
            _failed(name, 1, "{{workflow.status}} != Succeeded"),
            _failed(name, 0, "{{workflow.status}} == Succeeded"),
        ],
    )


def _failed(workflow: str, value: int, when: str) -> Gauge:
    # A gauge, since a counter that begins with the first failure has not increased for Prometheus.
    return Gauge(
        name="sales_mart_failed",
        help="Whether the last workflow failed.",
        labels=[Label(key="workflow", value=workflow)],
        value=str(value),
        when=when,
        realtime=False,
    )
