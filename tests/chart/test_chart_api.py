"""The read API in the chart, and the dashboard over its metrics and the workflow's."""

from __future__ import annotations

import json
import re
from typing import Any

import helm_python
import promql_parser
import pytest
import yaml

from chart.rendering import EVERYTHING, MATRIX, objects, one, texts
from sales_mart.api.gateway import OPEN_PATHS
from sales_mart.api.metrics import Metrics
from sales_mart.api.publications import Publications, Shown
from sales_mart.config.file import load_config
from sales_mart.warehouses.history import Publication

NAME = "sales-mart-api"
ENABLED = {"api": {"enabled": True}}
WITH_API = [name for name, values in MATRIX.items() if values.get("api", {}).get("enabled")]


def pod_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    return one(found, "Deployment", NAME)["spec"]["template"]


def test_there_is_none_of_it_unless_it_is_wanted() -> None:
    assert not [each for each in objects() if "api" in each["metadata"]["name"]]
    kinds = {each["kind"] for each in objects(ENABLED) if each["metadata"]["name"] == NAME}
    assert kinds == {
        *("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"),
        "ServiceAccount",
    }


@pytest.mark.parametrize("name", WITH_API)
def test_its_pods_are_as_restricted_security_wants_them(name: str) -> None:
    pod = pod_of(objects(MATRIX[name]))["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= {"emptyDir", "configMap", "secret"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", WITH_API)
def test_everything_finds_its_pods_and_nothing_of_the_workflow_does(name: str) -> None:
    found = objects(MATRIX[name])
    labels = pod_of(found)["metadata"]["labels"]
    wanted = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": "sales-mart"}
    assert wanted.items() <= labels.items()
    for each in found:
        if each["metadata"]["name"] == NAME and "spec" in each:
            selector = each["spec"].get("selector") or each["spec"].get("podSelector")
            if selector is not None:
                assert selector.get("matchLabels", selector) == wanted, each["kind"]
    (port,) = pod_of(found)["spec"]["containers"][0]["ports"]
    (served,) = one(found, "Service", NAME)["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    steps = one(found, "CronWorkflow")["spec"]["workflowMetadata"]["labels"]
    assert steps["app.kubernetes.io/name"] != NAME


def test_it_sees_secrets_of_its_own_and_none_of_the_steps() -> None:
    found = objects(EVERYTHING)
    text = yaml.safe_dump(pod_of(found))
    assert set(re.findall(r"(?:secretName|name): (sales-mart-api-\S+)", text)) == {
        "sales-mart-api-keys",
        "sales-mart-api-postgres",
    }
    for others in ("postgres-credentials", "bigquery-credentials", "pii-hash-key", "PII_HASH_KEY"):
        assert not re.search(rf"\b(?<!api-){others}\b", text)
    google = yaml.safe_dump(pod_of(objects({"api": {"enabled": True, "target": "bigquery"}})))
    assert "sales-mart-api-bigquery" in google
    assert "POSTGRES" not in google
    without = yaml.safe_dump(pod_of(objects(MATRIX["the API over BigQuery"])))
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in without


def test_the_probes_need_no_key_and_the_command_is_one(tmp_path: Any) -> None:
    found = objects(ENABLED)
    (container,) = pod_of(found)["spec"]["containers"]
    probes = {container[f"{each}Probe"]["httpGet"]["path"] for each in ("startup", "liveness")}
    assert {*probes, container["readinessProbe"]["httpGet"]["path"]} <= OPEN_PATHS
    assert [container["command"], container["args"][:1]] == [["sales-mart"], ["serve"]]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    file = tmp_path / "pipeline_config.yaml"
    file.write_text(one(found, "ConfigMap")["data"]["pipeline_config.yaml"])
    keys = "SALES_MART_API__KEYS_FILE"
    config = load_config(file, environ={keys: str(variables[keys])})
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert config.api.keys_file == f"{mounted['keys']}/keys"


def test_the_number_of_pods_is_the_autoscaler_s_where_there_is_one() -> None:
    found = objects({"api": {"enabled": True, "replicas": 3, "autoscaling": {"maxReplicas": 2}}})
    assert "replicas" not in one(found, "Deployment", NAME)["spec"]
    scaler = one(found, "HorizontalPodAutoscaler", NAME)["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 3)
    found = objects({"api": {"enabled": True, "autoscaling": {"enabled": False}}})
    assert one(found, "Deployment", NAME)["spec"]["replicas"] == 2
    assert not [each for each in found if each["kind"] == "HorizontalPodAutoscaler"]


def test_only_who_may_reach_it_does_and_it_reaches_the_warehouse_only() -> None:
    policy = one(objects(EVERYTHING), "NetworkPolicy", NAME)["spec"]
    (into,) = policy["ingress"]
    assert into["from"] == EVERYTHING["api"]["allowedFrom"]
    assert into["ports"] == [{"port": "http", "protocol": "TCP"}]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 5353, 5432, 9050}
    google = one(objects(MATRIX["the API over BigQuery"]), "NetworkPolicy", NAME)["spec"]
    ports = {port["port"] for rule in google["egress"] for port in rule["ports"]}
    assert ports == {53, 5353, 80, 988, 443}


@pytest.mark.parametrize(
    ("api", "said"),
    [
        ({"target": "bigquery"}, "none of the targets"),
        ({"ingress": {"enabled": True}}, "name the host"),
        ({"serviceAccount": {"create": False}}, "api.serviceAccount.name"),
        ({"target": "oracle"}, "/api/target"),
        ({"replicas": 0}, "/api/replicas"),
    ],
)
def test_what_cannot_be_served_is_refused(api: dict[str, Any], said: str) -> None:
    config = {"data_warehouse": {"targets": ["postgres"]}}
    with pytest.raises(helm_python.HelmError, match=said):
        objects({"config": config, "api": {"enabled": True, **api}})


def test_prometheus_asks_with_a_key() -> None:
    found = objects({**ENABLED, "serviceMonitor": {"enabled": True, "labels": {"a": "b"}}})
    monitor = one(found, "ServiceMonitor", NAME)
    assert monitor["metadata"]["labels"]["a"] == "b"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["authorization"] == {
        "credentials": {"name": "sales-mart-api-prometheus", "key": "key"}
    }


def api_metrics() -> set[str]:
    """Return the names of the time series that the API gives."""

    async def never() -> Shown:
        raise NotImplementedError

    from datetime import UTC, datetime

    metrics, publications = Metrics(), Publications(never, 1)
    publications.note(
        Shown(Publication(1, "", {"sales_by_date": 1}, datetime.now(UTC), "a", 1), {"reason": 1})
    )
    metrics.show(publications)
    metrics.count("/", 200, 0.1)
    lines = metrics.text().decode().splitlines()
    return {re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")}


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    found = one(objects({"dashboard": {"enabled": True}}), "ConfigMap", "sales-mart-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    document = json.loads(found["data"]["sales-mart.json"])
    workflow = re.findall(r"name: (sales_mart_\w+)", "\n".join(texts().values()))
    known = api_metrics() | {f"argo_workflows_{name}" for name in workflow}
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= 18
    used: set[str] = set()
    for query in queries:
        promql_parser.parse(query.replace("$__rate_interval", "5m"))
        used |= set(re.findall(r"\b(?:argo_workflows_)?sales_mart_\w+", query))
    assert used <= known, used - known
    assert all(panel["description"] for panel in panels)
    places = [tuple(panel["gridPos"].values()) for panel in document["panels"]]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in document["panels"]}) == len(places)
