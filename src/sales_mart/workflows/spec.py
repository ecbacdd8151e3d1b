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

from sales_mart.warehouses.base import shared_warehouses
from sales_mart.workflows.templates import volumes

__all__ = ["ARGUMENTS", "labels", "workflow_template"]

_USER = 10001
_HOUR, _DAY = 3600, 86400

# The executor's own containers get neither a security context nor resources from a controller as it
# is installed; restricted pod security asks for the one, a quota for the other.
_EXECUTOR = {
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    "resources": {
        "requests": {"cpu": "10m", "memory": "32Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    },
}
_EXECUTOR_PATCH = json.dumps(
    {
        "initContainers": [{"name": "init", **_EXECUTOR}],
        "containers": [{"name": "wait", **_EXECUTOR}],
    }
)

ARGUMENTS = (
    Parameter(
        name="source",
        value="",
        description="File, folder or glob; several as a list in JSON. Empty: as configured.",
    ),
    Parameter(
        name="mode",
        value="",
        description="replace or append. Empty: append for a source with {date}, else replace.",
    ),
    Parameter(
        name="targets",
        value="",
        description="Warehouses, such as postgres,bigquery. Empty: as configured.",
    ),
    Parameter(
        name="select",
        value="",
        description="Models to build and test only, in dbt's syntax; nothing is published then.",
    ),
    Parameter(
        name="allow-empty",
        value="",
        description="true accepts files of no bytes, and rows of which the marts show none.",
    ),
    Parameter(
        name="accept",
        value="",
        description="new-key, new-rules or both with a comma: what a load refuses otherwise.",
    ),
    Parameter(name="shards", value="1", description="Most pods that validate side by side."),
    Parameter(
        name="layout",
        value="auto",
        enum=["auto", "single", "steps"],
        description="One pod for the whole run, or one for each step; auto: by the input's bytes.",
    ),
    Parameter(
        name="single-pod-bytes",
        value=str(256 * 1024 * 1024),
        description="Most bytes of input that layout auto leaves to one pod.",
    ),
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
        on_exit="exit",
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
        # More than there ever are: for pods of a workflow only a number is allowed.
        pod_disruption_budget=PodDisruptionBudgetSpec(min_available=IntOrString(root=9999)),
        synchronization=Synchronization(
            mutexes=[Mutex(name=f"sales-mart-{name}") for name in shared_warehouses()]
        ),
        metrics=[
            Counter(
                name="sales_mart_runs_total",
                help="Workflows that ended, by how they ended.",
                labels=[*labels(name), Label(key="status", value="{{workflow.status}}")],
                value="1",
            ),
            Gauge(
                name="sales_mart_duration_seconds",
                help="How long the last workflow took.",
                labels=labels(name),
                value="{{workflow.duration}}",
                realtime=False,
            ),
            Gauge(
                name="sales_mart_started_timestamp_seconds",
                help="When the last workflow was submitted, in seconds since 1970.",
                labels=labels(name),
                value="{{workflow.creationTimestamp.s}}",
                realtime=False,
            ),
            _failed(name, 1, "{{workflow.status}} != Succeeded"),
            _failed(name, 0, "{{workflow.status}} == Succeeded"),
        ],
    )


def labels(workflow: str) -> list[Label]:
    """Tell the workflow's metrics from those of others that the same controller runs."""
    return [
        Label(key="workflow", value=workflow),
        Label(key="workflow_namespace", value="{{workflow.namespace}}"),
    ]


def _failed(workflow: str, value: int, when: str) -> Gauge:
    # A gauge, since a counter that begins with the first failure has not increased for Prometheus.
    return Gauge(
        name="sales_mart_failed",
        help="Whether the last workflow failed.",
        labels=labels(workflow),
        value=str(value),
        when=when,
        realtime=False,
    )
