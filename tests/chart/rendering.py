"""The chart as Helm's own engine renders it, and strict checks of what comes out."""

from __future__ import annotations

import copy
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import helm_python
import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "sales-mart"
SCHEMAS = "ARGO_SCHEMAS"
"""Variable with the folder of Argo's definitions."""
_OLDEST, _NEWEST = "1.29", "1.37"

EVERYTHING: dict[str, Any] = {
    "commonLabels": {"team": "data"},
    "config": {
        "data_lake": {"gcs_bucket": "bucket", "lake": "/lake/runs"},
        "security": {"algorithm": "hmac-sha256"},
    },
    "extraEnv": [{"name": "PGSSLROOTCERT", "value": "/ca/ca.crt"}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "externalSecrets": {
        "enabled": True,
        "secretStore": {"name": "vault", "kind": "ClusterSecretStore"},
        "remoteKeys": {"postgres": "a", "bigquery": "b", "piiHashKey": "c", "webhook": "d"},
    },
    "image": {"pullSecrets": ["registry"], "digest": f"sha256:{'0' * 64}"},
    "lake": {"existingClaim": "sales"},
    "networkPolicy": {"enabled": True, "extraEgress": [{"ports": [{"port": 9050}]}]},
    "nodeSelector": {"pool": "data"},
    "notify": {"enabled": True},
    "podAnnotations": {"note": "here"},
    "podLabels": {"cost": "sales"},
    "podSecurityContext": {"runAsUser": 1234},
    "priorityClassName": "high",
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {
        "name": "ours",
        "annotations": {"iam.gke.io/gcp-service-account": "a@b"},
    },
    "steps": {
        "validate": {
            "resources": {"limits": {"cpu": "2"}},
            "nodeSelector": {"pool": "big"},
            "tolerations": [{"key": "big", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
        }
    },
    "tolerations": [{"key": "data", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "api": {
        "enabled": True,
        "allowedFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"note": "here"},
            "host": "sales.example.com",
            "tlsSecretName": "sales-tls",
        },
        "serviceAccount": {"name": "reader"},
    },
    "dashboard": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
"""Values that switch everything on."""

MATRIX: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "postgres only": {"config": {"data_warehouse": {"targets": ["postgres"]}}},
    "bigquery only": {
        "config": {"data_warehouse": {"targets": ["bigquery"]}},
        "postgres": {"secretName": ""},
    },
    "workload identity": {
        "bigquery": {"secretName": ""},
        "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "a@b"}},
    },
    "plain tokens": {"config": {"security": {"algorithm": "sha256"}}},
    "accounts of others": {
        "serviceAccount": {"create": False, "name": "ours"},
        "rbac": {"create": False},
    },
    "no disruption budget": {"workflow": {"podDisruptionBudget": False, "suspend": True}},
    "other secrets": {
        "postgres": {"secretName": "pg", "userKey": "name", "passwordKey": "word"},
        "bigquery": {"secretName": "google", "key": "file.json"},
        "piiHashKey": {"secretName": "hash", "key": "it"},
        "notify": {"enabled": True, "secretName": "chat", "key": "address"},
    },
    "the API": {"api": {"enabled": True}},
    "the API over BigQuery": {
        "api": {
            "enabled": True,
            "target": "bigquery",
            "bigquery": {"secretName": ""},
            "autoscaling": {"enabled": False},
            "serviceAccount": {"create": False, "name": "reader"},
        },
        "networkPolicy": {"enabled": True},
    },
    "a backfill's shards": {"workflow": {"shards": 8, "parallelism": 8, "retry": {"limit": 0}}},
}
"""Values of sites, by what they are about."""


@cache
def chart() -> helm_python.Chart:
    """Load the chart."""
    return helm_python.Chart.load(CHART)


def texts(
    values: Mapping[str, Any] | None = None,
    *,
    name: str = "sales-mart",
    namespace: str = "data-pipeline",
) -> dict[str, str]:
    """Render the chart; file of the chart -> text."""
    return chart().render(dict(values or {}), name=name, namespace=namespace)


def objects(
    values: Mapping[str, Any] | None = None,
    *,
    name: str = "sales-mart",
    namespace: str = "data-pipeline",
) -> list[dict[str, Any]]:
    """Render the chart into objects."""
    rendered = texts(values, name=name, namespace=namespace)
    files = (text for path, text in rendered.items() if path.endswith(".yaml"))
    return [each for text in files for each in yaml.safe_load_all(text) if each]


def one(found: list[dict[str, Any]], kind: str, name: str = "sales-mart") -> dict[str, Any]:
    """Return the object of a kind and a name."""
    return next(each for each in found if each["kind"] == kind and each["metadata"]["name"] == name)


def workflows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the workflow templates: the daily run's and the backfill's."""
    return [each for each in found if each["kind"] == "WorkflowTemplate"]


def containers(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every container that the chart starts, with the name of its step."""
    for each in workflows(found):
        for template in each["spec"]["templates"]:
            if "container" in template:
                yield template["name"], template["container"]
    for each in found:
        if each["kind"] == "Pod":
            yield from (("doctor", container) for container in each["spec"]["containers"])


# --- strict validation


needs_schemas = pytest.mark.skipif(
    SCHEMAS not in os.environ, reason=f"{SCHEMAS} names no folder with Argo's definitions"
)


def is_argo(document: dict[str, Any]) -> bool:
    """Return whether an object is of one of Argo's kinds."""
    return document["apiVersion"].startswith("argoproj.io/")


def complaints(document: dict[str, Any]) -> list[str]:
    """Say what is wrong with an object, by the definition of its kind."""
    group = document["apiVersion"].partition("/")[0]
    if is_argo(document):
        return [_said(error) for error in _argo(document["kind"]).iter_errors(document)]
    if group in ("external-secrets.io", "monitoring.coreos.com"):
        return []  # other people's definitions; a cluster that has them checks
    for version in (_OLDEST, _NEWEST):
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return [f"{version}: {error.message}"]
    return []


def _said(error: Any) -> str:
    return f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"


@cache
def _argo(kind: str) -> Draft202012Validator:
    """Return a validator of the full definition of a kind, in which nothing unknown is allowed."""
    path = Path(os.environ[SCHEMAS]) / f"argoproj.io_{kind.lower()}s.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506 - a safe loader
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return Draft202012Validator(_strict(copy.deepcopy(schema)))


def _strict(schema: Any) -> Any:
    """Refuse what a definition does not name, as the server does with strict validation."""
    if isinstance(schema, list):
        return [_strict(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in cast("dict[str, Any]", schema).items()}
    if made.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    free = made.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in made
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and not free:
        made["additionalProperties"] = False
    # The metadata of the object itself is the server's, which the definition leaves open.
    return made
