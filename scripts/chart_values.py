# ruff: noqa: INP001 - a script, no package
"""Write what the chart says about its values: the schema, and the table in its README.

    python scripts/chart_values.py

Types and defaults come from `values.yaml`, meanings from the comments in it, and the keys of the
pipeline's configuration from the library. A test fails when a file is out of date.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from sales_mart.config.keys import schema as config_schema
from sales_mart.warehouses.base import RENAMED_KEYS, shared_warehouses

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = Path(__file__).resolve().parents[1] / "charts" / "sales-mart"
_TABLE = re.compile(r"(<!-- generated: values -->\n).*?(<!-- /generated -->)", re.DOTALL)
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
_RESOURCES = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"requests": _QUANTITIES, "limits": _QUANTITIES},
}
_STEPS = (
    *("run", "plan", "validate", "seal"),
    *(f"load-{name}" for name in shared_warehouses()),
    *("transform", "reconcile", "publish", "export", "days", "notify"),
)
_DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
_COUNT = {"type": "integer", "minimum": 1}
_NAME = {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"}
_TOLERATES = {"nodeSelector": _TEXTS, "tolerations": _OBJECTS, "affinity": {"type": "object"}}
SPECIAL: dict[str, dict[str, Any]] = {
    "affinity": {"type": "object"},
    "api.allowedFrom": _OBJECTS,
    "api.autoscaling.cpuUtilization": _COUNT,
    "api.autoscaling.maxReplicas": _COUNT,
    "api.bigquery.secretName": _NAME,
    "api.ingress.annotations": _TEXTS,
    "api.keys.secretName": {**_NAME, "minLength": 1},
    "api.postgres.secretName": {**_NAME, "minLength": 1},
    "api.replicas": _COUNT,
    "api.resources": _RESOURCES,
    "api.serviceAccount.annotations": _TEXTS,
    "api.serviceAccount.name": _NAME,
    "api.target": {"enum": ["", *shared_warehouses()]},
    "bigquery.secretName": _NAME,
    "commonLabels": _TEXTS,
    "config": {"$ref": "#/$defs/Config"},
    "dashboard.labels": _TEXTS,
    "executor.resources": _RESOURCES,
    "externalSecrets.secretStore.kind": {"enum": ["SecretStore", "ClusterSecretStore"]},
    "extraEnv": _OBJECTS,
    "extraVolumeMounts": _OBJECTS,
    "extraVolumes": _OBJECTS,
    "fullnameOverride": _NAME,
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": {"type": "array", "items": {"type": "string"}},
    "image.repository": {"type": "string", "minLength": 1},
    "image.tag": {"type": "string", "not": {"const": "latest"}},
    "namespace": _NAME,
    "networkPolicy.apiServerPorts": {
        "type": "array",
        "minItems": 1,  # a rule without ports would allow all of them
        "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
    "networkPolicy.extraEgress": _OBJECTS,
    "nodeSelector": _TEXTS,
    "notify.secretName": {**_NAME, "minLength": 1},
    "objectStore.secretName": _NAME,
    "piiHashKey.secretName": {**_NAME, "minLength": 1},
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "podSecurityContext": {"type": "object"},
    "postgres.secretName": _NAME,
    "prometheusRule.labels": _TEXTS,
    "prometheusRule.quarantinedShare": {"type": "number", "minimum": 0, "maximum": 1},
    "resources": _RESOURCES,
    "serviceAccount.annotations": _TEXTS,
    "serviceMonitor.interval": _DURATION,
    "serviceMonitor.keySecretName": {**_NAME, "minLength": 1},
    "serviceMonitor.labels": _TEXTS,
    "steps": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            step: {
                "type": "object",
                "additionalProperties": False,
                "properties": {"resources": _RESOURCES, **_TOLERATES},
            }
            for step in _STEPS
        },
    },
    "tolerations": _OBJECTS,
    "workflow.activeDeadlineSeconds": _COUNT,
    "workflow.backfillDeadlineSeconds": _COUNT,
    "workflow.parallelism": _COUNT,
    "workflow.podGCDelay": _DURATION,
    "workflow.retry.backoff": _DURATION,
    "workflow.schedule": {"type": "string", "pattern": r"^(\S+( \S+){4}|@[a-z]+( \S+)?)$"},
    "workflow.layout": {"enum": ["auto", "single", "steps"]},
    "workflow.shards": _COUNT,
    "workflow.stepDeadlineSeconds": _COUNT,
    "workflow.timezone": {"type": "string", "minLength": 1},
}
"""What a default does not tell about a value."""
RENAMED_VALUES = {"scratch": "temporaryFiles"}
"""Values of earlier versions, which the templates still read."""


def schema() -> str:
    """Return the JSON Schema of the values."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    made = _object(values, "")
    # Helm hands a chart this one in any case.
    made["properties"]["global"] = {"type": "object"}
    for old, new in RENAMED_VALUES.items():
        made["properties"][old] = {**made["properties"][new], "deprecated": True}
    config = config_schema()
    definitions = config.pop("$defs")
    # Values own the first two, and what becomes a ConfigMap may hold no credentials.
    for name in ("orchestration", "kubernetes"):
        del config["properties"][name]
    for name in ("user", "password", "secretName"):
        del definitions["PostgresSettings"]["properties"][name]
    definitions["DataWarehouse"]["properties"]["targets"]["items"]["enum"] = [*shared_warehouses()]
    for name in ("Orchestration", "Kubernetes", "Resources"):
        del definitions[name]
    for old, new in RENAMED_KEYS.items():
        known = _section(config, definitions, new[:-1])[new[-1]]
        _section(config, definitions, old[:-1])[old[-1]] = {**known, "deprecated": True}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "$defs": {**definitions, "Config": config},
    }
    return json.dumps(document, indent=2) + "\n"


def _section(
    config: dict[str, Any], definitions: dict[str, Any], path: tuple[str, ...]
) -> dict[str, Any]:
    """Return the keys of a section of the configuration."""
    section = config
    for name in path:
        section = definitions[section["properties"][name]["$ref"].rpartition("/")[2]]
    return section["properties"]


def _object(values: dict[str, Any], path: str) -> dict[str, Any]:
    properties = {key: _property(value, f"{path}{key}") for key, value in values.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(value: Any, path: str) -> dict[str, Any]:
    if path in SPECIAL:
        return SPECIAL[path]
    if isinstance(value, dict):
        return _object(value, f"{path}.")
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 0}
    if isinstance(value, str):
        return {"type": "string"}
    msg = f"{path}: say in SPECIAL what it takes"
    raise TypeError(msg)


def table() -> str:
    """Return the table of the values, in Markdown.

    Raises:
        ValueError: A value has no comment above it.
    """
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    defaults = leaves()
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    comments: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        key = re.match(r"( *)([A-Za-z]+):", line)
        if line.strip().startswith("#"):
            comments.append(line.strip().removeprefix("#").strip())
        elif key is None:
            comments = []
        else:
            path = [*path[: len(key[1]) // 2], key[2]]
            dotted = ".".join(path)
            if dotted in defaults and not comments:
                msg = f"values.yaml: {dotted} has no comment above it"
                raise ValueError(msg)
            if dotted in defaults:
                shown = json.dumps(defaults[dotted]).replace("|", "\\|")
                rows.append(f"| `{dotted}` | `{shown}` | {' '.join(comments)} |")
            comments = []
    return "\n".join(rows) + "\n"


def leaves() -> dict[str, Any]:
    """Return every value that can be set, by its dotted name, with its default."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return dict(_leaves(values, ""))


def _leaves(values: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        dotted = f"{path}{key}"
        if isinstance(value, dict) and value and dotted not in SPECIAL:
            yield from _leaves(cast("dict[str, Any]", value), f"{dotted}.")
        else:
            yield dotted, value


def readme() -> str:
    """Return the chart's README with its table made anew."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    return _TABLE.sub(lambda match: f"{match[1]}\n{table()}\n{match[2]}", text)


def files() -> dict[Path, str]:
    """Return every generated file with what should stand in it."""
    return {CHART / "values.schema.json": schema(), CHART / "README.md": readme()}


if __name__ == "__main__":
    for file, content in files().items():
        file.write_text(content, encoding="utf-8")
