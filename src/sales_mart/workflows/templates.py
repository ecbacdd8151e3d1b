"""Leaf templates: one container for each step, with the secrets that it needs and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hera.workflows import Container, Env, Parameter, RetryPolicy, RetryStrategy, SecretEnv
from hera.workflows.models import (
    Backoff,
    Capabilities,
    ConfigMapVolumeSource,
    EmptyDirVolumeSource,
    IntOrString,
    Quantity,
    ResourceRequirements,
    SecretVolumeSource,
    SecurityContext,
    ValueFrom,
    Volume,
    VolumeMount,
)

from sales_mart import __version__
from sales_mart.warehouses.base import shared_warehouses, warehouse_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "IMAGE",
    "KEY",
    "RETRY_EXPRESSION",
    "WAREHOUSES",
    "WEBHOOK",
    "retries",
    "secrets_of",
    "step",
    "volumes",
]

IMAGE = f"sales-mart:{__version__}"
"""Stands in until the chart puts a site's image in its place."""
RETRY_EXPRESSION = "lastRetry.status == 'Error' || lastRetry.exitCode in ['75', '137', '143', '-1']"
"""What another attempt can cure: a pod that was deleted or never came up, a temporary failure, a
kill, a drained node, an eviction. Never 0, 1, 2 or 65."""

_OUTPUTS = "/tmp/outputs"  # noqa: S108 - a path inside of the container
_GOOGLE = "/var/run/secrets/sales-mart/google"


def _secret(variable: str, secret: str, key: str) -> SecretEnv:
    # Optional, since a pod without its secret would hang; the command says at once what is missing.
    return SecretEnv(name=variable, secret_name=secret, secret_key=key, optional=True)


def secrets_of(name: str) -> tuple[SecretEnv, ...]:
    """Return the variables of a warehouse's secret, which is called after it."""
    return tuple(
        _secret(variable, f"{name}-credentials", key)
        for variable, key in warehouse_class(name).secrets.items()
    )


WAREHOUSES = tuple(secret for name in shared_warehouses() for secret in secrets_of(name))
"""The secrets of all warehouses: what a site does not use is left out by the chart."""
KEY = (_secret("PII_HASH_KEY", "pii-hash-key", "key"),)
WEBHOOK = (_secret("SALES_MART_WEBHOOK_URL", "sales-mart-webhook", "url"),)


def step(  # noqa: PLR0913 - a container has many sides
    name: str,
    *arguments: str,
    secrets: Sequence[SecretEnv] = (),
    variables: Mapping[str, str] | None = None,
    inputs: Sequence[str] = (),
    outputs: Mapping[str, str] | None = None,
    metrics: Sequence[Any] = (),
    retry: RetryStrategy | None = None,
) -> Container:
    """Make the template of one step.

    Args:
        name: Name of the template.
        arguments: What follows `sales-mart` on the command line.
        secrets: Variables out of secrets.
        variables: More variables, for what an empty text leaves out, as no option can.
        inputs: Names of the input parameters.
        outputs: Names of the output parameters, with what they are when the step leaves none.
        metrics: What the controller publishes about the step.
        retry: How it is tried again; None: three times, where another attempt can cure it.
    """
    given = [*arguments]
    if outputs:
        given += ["--outputs", _OUTPUTS]
    return Container(
        name=name,
        image=IMAGE,
        command=["sales-mart"],
        args=given,
        env=[
            Env(name="SALES_MART_CONFIG", value="/etc/sales-mart/pipeline_config.yaml"),
            Env(name="SALES_MART_ERROR_FILE", value="/dev/termination-log"),
            Env(name="GOOGLE_APPLICATION_CREDENTIALS", value=f"{_GOOGLE}/credentials.json"),
            *(Env(name=each, value=value) for each, value in (variables or {}).items()),
            *secrets,
        ],
        inputs=[Parameter(name=each) for each in inputs],
        outputs=[
            Parameter(name=each, value_from=ValueFrom(path=f"{_OUTPUTS}/{each}", default=without))
            for each, without in (outputs or {}).items()
        ],
        metrics=[*metrics],
        resources=ResourceRequirements(
            requests=_quantities(cpu="200m", memory="512Mi"),
            limits=_quantities(cpu="500m", memory="1Gi"),
        ),
        volume_mounts=[
            VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108 - inside of the container
            VolumeMount(name="config", mount_path="/etc/sales-mart", read_only=True),
            VolumeMount(name="google", mount_path=_GOOGLE, read_only=True),
        ],
        security_context=SecurityContext(
            allow_privilege_escalation=False,
            capabilities=Capabilities(drop=["ALL"]),
            read_only_root_filesystem=True,
            run_as_non_root=True,
        ),
        retry_strategy=retry or retries("3", "300s"),
    )


def _quantities(**texts: str) -> dict[str, Quantity]:
    return {name: Quantity(text) for name, text in texts.items()}


def retries(limit: str, pause: str) -> RetryStrategy:
    """Try again what another attempt can cure."""
    return RetryStrategy(
        limit=limit,
        retry_policy=RetryPolicy.always,
        expression=RETRY_EXPRESSION,
        backoff=Backoff(duration=pause, factor=IntOrString(root="1")),
    )


def volumes() -> list[Any]:
    """Return what pods mount: room to write, the configuration, Google's credentials."""
    return [
        Volume(name="tmp", empty_dir=EmptyDirVolumeSource(size_limit=Quantity("10Gi"))),
        Volume(name="config", config_map=ConfigMapVolumeSource(name="sales-mart")),
        Volume(
            name="google",
            secret=SecretVolumeSource(secret_name="bigquery-credentials", optional=True),  # noqa: S106 - a name
        ),
    ]
