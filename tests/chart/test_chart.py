"""The chart: it renders to objects that a strict server takes, and to what is asked for."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import chart_values as chart_values_script
import helm_python
import promql_parser
import pytest
import yaml

from chart.local_argo import LocalArgo
from chart.rendering import (
    CHART,
    EVERYTHING,
    MATRIX,
    ROOT,
    complaints,
    containers,
    is_argo,
    needs_schemas,
    objects,
    one,
    texts,
    workflows,
)
from sales_mart.config import Config
from sales_mart.config.file import load_config
from sales_mart.config.report import chart_values

if TYPE_CHECKING:
    from collections.abc import Mapping

STEPS = {
    *(
        "run",
        "plan",
        "validate",
        "seal",
        "load-postgres",
        "load-bigquery",
        "transform",
        "reconcile",
    ),
    *("publish", "export"),
}
GROUPS = {"backfill", "one-by-one"}
KINDS = {"ConfigMap", "ServiceAccount", "Role", "RoleBinding", "WorkflowTemplate", "CronWorkflow"}


# --- what is generated


def test_the_manifests_are_what_the_definitions_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sales_mart.workflows", "--check", str(CHART / "files")],
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "change", [("limit: '3'", "limit: '4'"), ("- seal\n", "- sael\n"), ("name: plan", "name: x")]
)
def test_a_change_of_one_line_is_noticed(tmp_path: Path, change: tuple[str, str]) -> None:
    from sales_mart.workflows.__main__ import main

    for path in (CHART / "files").glob("*.yaml"):
        text = path.read_text()
        tmp_path.joinpath(path.name).write_text(
            text.replace(*change, 1) if path.name == "workflow.yaml" else text
        )
    assert main(["--check", str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0


def test_a_change_in_a_definition_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from sales_mart.workflows import __main__, templates

    monkeypatch.setattr(templates, "RETRY_EXPRESSION", "true")
    assert __main__.main(["--check", str(CHART / "files")]) == 1


def test_schema_and_readme_are_up_to_date() -> None:
    for file, content in chart_values_script.files().items():
        assert content == file.read_text(encoding="utf-8"), (
            f"{file.name}: run scripts/chart_values.py"
        )


# --- every set of values


@pytest.mark.parametrize("name", MATRIX)
def test_every_object_of_kubernetes_is_valid_by_its_definition(name: str) -> None:
    found = objects(MATRIX[name])
    assert {each["kind"] for each in found} >= KINDS - {"ServiceAccount", "Role", "RoleBinding"}
    kinds = [each for each in found if not is_argo(each)]
    assert [(each["kind"], complaints(each)) for each in kinds] == [
        (each["kind"], []) for each in kinds
    ]


@needs_schemas
@pytest.mark.parametrize("name", MATRIX)
def test_every_object_of_argo_is_valid_by_its_definition(name: str) -> None:
    found = [each for each in objects(MATRIX[name]) if is_argo(each)]
    assert [(each["kind"], complaints(each)) for each in found] == [
        (each["kind"], []) for each in found
    ]


@pytest.mark.parametrize("name", MATRIX)
def test_the_chart_lints_strictly(name: str) -> None:
    report = helm_python.lint(CHART, MATRIX[name], strict=True)
    problems = [each for each in report["messages"] if each["severity"] > 1]
    assert (report["errors"], problems) == ([], [])


@pytest.mark.parametrize("kind", ["ServiceAccount", "Role", "ConfigMap"])
def test_a_validator_that_lets_all_pass_would_be_noticed(kind: str) -> None:
    spoilt = copy.deepcopy(one(objects(), kind))
    spoilt["specs"] = {}
    assert complaints(spoilt)


@needs_schemas
@pytest.mark.parametrize("kind", ["WorkflowTemplate", "CronWorkflow"])
def test_a_validator_of_argo_that_lets_all_pass_would_be_noticed(kind: str) -> None:
    spoilt = copy.deepcopy(one(objects(), kind))
    spoilt["specs"] = {}
    assert complaints(spoilt)
    spoilt = copy.deepcopy(one(objects(), "WorkflowTemplate"))
    spoilt["spec"]["templates"][0]["container"]["imagePullPolice"] = "Always"
    assert complaints(spoilt)


@pytest.mark.parametrize("name", MATRIX)
def test_rendering_twice_gives_the_same_bytes(name: str) -> None:
    assert texts(MATRIX[name]) == texts(MATRIX[name])


@pytest.mark.parametrize("name", MATRIX)
def test_pods_are_as_restricted_security_wants_them(name: str) -> None:
    found = objects(MATRIX[name])
    pods = [each["spec"] for each in (*workflows(found), one(found, "Pod", "sales-mart-doctor"))]
    for pod in pods:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod["volumes"]:
            kinds = set(volume) - {"name"}
            assert kinds <= {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}, volume
    for step, container in containers(found):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, step
        assert security["capabilities"] == {"drop": ["ALL"]}, step
        assert security["readOnlyRootFilesystem"] is True, step
        assert set(container["resources"]) == {"requests", "limits"}, step
    for each in workflows(found):
        patch = yaml.safe_load(each["spec"]["podSpecPatch"])
        added = [*patch["initContainers"], *patch["containers"]]
        assert [each["name"] for each in added] == ["init", "wait"]
        for container in added:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", MATRIX)
def test_nothing_is_rendered_that_must_not_be(name: str) -> None:
    text = "\n".join(texts(MATRIX[name]).values())
    for pattern in ("hostPath", "privileged: true", r":latest\b", "runAsUser: 0", "kind: Secret$"):
        assert not re.search(pattern, text, re.MULTILINE), pattern


@pytest.mark.parametrize("name", MATRIX)
def test_secrets_are_references_and_no_parameter_holds_one(name: str) -> None:
    found = objects(MATRIX[name])
    for step, container in containers(found):
        for variable in container["env"]:
            secret = re.search("PASSWORD|HASH_KEY|WEBHOOK|USER", variable["name"])
            assert ("valueFrom" in variable) == bool(secret), (step, variable["name"])
        assert not re.search("password|secret|key|token", " ".join(container["args"])), step
    for each in workflows(found):
        names = {each["name"] for each in each["spec"]["arguments"]["parameters"]}
        assert not [name for name in names if re.search("password|secret|key|token", name)]


def test_a_step_sees_the_secrets_that_it_needs_and_no_others() -> None:
    seen: dict[str, set[str]] = {}
    for step, container in containers(objects(EVERYTHING)):
        variables = {each["name"] for each in container["env"] if "valueFrom" in each}
        assert seen.setdefault(step, variables) == variables
    postgres = {"POSTGRES_USER", "POSTGRES_PASSWORD"}
    assert seen == {
        "run": {*postgres, "PII_HASH_KEY"},
        "plan": set(),
        "validate": {"PII_HASH_KEY"},
        "seal": set(),
        "load-postgres": postgres,
        "load-bigquery": set(),
        "transform": postgres,
        "reconcile": postgres,
        "publish": postgres,
        "export": postgres,
        "days": postgres,
        "notify": {"SALES_MART_WEBHOOK_URL"},
        "doctor": {*postgres, "PII_HASH_KEY", "SALES_MART_WEBHOOK_URL"},
    }


def test_the_account_may_report_results_and_nothing_else() -> None:
    for values in MATRIX.values():
        found = objects(values)
        rules = [rule for each in found if each["kind"] == "Role" for rule in each["rules"]]
        if values.get("rbac", {}).get("create", True):
            assert rules == [
                {
                    "apiGroups": ["argoproj.io"],
                    "resources": ["workflowtaskresults"],
                    "verbs": ["create", "patch"],
                }
            ]
        else:
            assert rules == []
        assert not [each for each in found if each["kind"].startswith("ClusterRole")]
        assert (
            one(found, "Pod", "sales-mart-doctor")["spec"]["automountServiceAccountToken"] is False
        )


# --- the graph


@pytest.mark.parametrize("name", MATRIX)
def test_every_reference_in_braces_resolves(name: str) -> None:
    for each in workflows(objects(MATRIX[name])):
        spec = each["spec"]
        parameters = {each["name"] for each in spec["arguments"]["parameters"]}
        templates = {each["name"]: each for each in spec["templates"]}
        workflow = {"name", "namespace", "status", "duration", "failures", "creationTimestamp.s"}
        workflow |= {f"parameters.{name}" for name in parameters}
        known = {f"workflow.{name}" for name in workflow}
        assert _references({**spec, "templates": []}) <= known
        for template in templates.values():
            own = {f"inputs.parameters.{name}" for name in _names(template, "inputs")}
            own |= {f"outputs.parameters.{name}" for name in _names(template, "outputs")}
            own |= {"status", "item"} | known
            tasks = template.get("dag", {}).get("tasks", [])
            tasks = [*tasks, *(step for group in template.get("steps", []) for step in group)]
            for task in tasks:
                called = templates[task["template"]]
                given = {each["name"] for each in task.get("arguments", {}).get("parameters", [])}
                assert given == set(_names(called, "inputs")), (template["name"], task["name"])
                own |= {
                    f"tasks.{task['name']}.outputs.parameters.{name}"
                    for name in _names(called, "outputs")
                }
                for before in re.findall(
                    r"([a-z-]+)\.(?:Succeeded|Skipped)", task.get("depends", "")
                ):
                    assert before in {other["name"] for other in tasks}
                for used in re.findall(r"tasks\.([a-z-]+)\.", yaml.safe_dump(task)):
                    assert f"{used}.Succeeded" in task.get("depends", ""), (used, task["name"])
            assert _references(template) <= own, template["name"]


def _names(template: dict[str, Any], side: str) -> list[str]:
    return [each["name"] for each in template.get(side, {}).get("parameters", [])]


def _references(document: Any) -> set[str]:
    return set(re.findall(r"\{\{ *([^}=][^}]*?) *\}\}", yaml.safe_dump(document, width=9999)))


def test_the_cron_passes_a_reference_and_the_time_it_fired_for() -> None:
    cron = one(objects(), "CronWorkflow")["spec"]
    assert cron["schedules"] == ["0 0 * * *"]
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["startingDeadlineSeconds"] == 3600
    assert cron["workflowSpec"] == {
        "workflowTemplateRef": {"name": "sales-mart"},
        "arguments": {
            "parameters": [{"name": "business-date", "value": "{{workflow.scheduledTime}}"}]
        },
    }


def test_the_exit_handler_is_there_when_it_is_wanted_only() -> None:
    for each in workflows(objects({"notify": {"enabled": True}})):
        assert each["spec"]["onExit"] == "exit"
        (told,) = (t for t in each["spec"]["templates"] if t["name"] == "exit")
        # A webhook that is away must not fail a workflow that went well.
        assert told["dag"]["tasks"][0]["continueOn"] == {"failed": True, "error": True}
    for each in workflows(objects()):
        assert "onExit" not in each["spec"]
        assert "{{workflow.failures}}" not in yaml.safe_dump(each)
        assert not {"exit", "notify"} & {t["name"] for t in each["spec"]["templates"]}


class Pods(LocalArgo):
    """A workflow of which no pod runs: each hands over what it is told to."""

    def __init__(self, spec: Mapping[str, Any], folder: Path, **outputs: str) -> None:
        super().__init__(spec, folder, {}, {})
        self.outputs = outputs

    def container(self, template: Mapping[str, Any], scope: Mapping[str, str]) -> dict[str, str]:
        """Note the pod."""
        del scope
        self.ran.append((template["name"],))
        return self.outputs if template["name"] == "plan" else {}


FAN_OUT = ("plan", "validate", "validate", "seal", "load-postgres", "load-bigquery", "transform")
WHOLE = (*FAN_OUT, "reconcile", "publish", "export")


@pytest.mark.parametrize(
    ("parameters", "size", "pods"),
    [
        ({}, 268_435_456, ("plan", "run")),
        ({}, 268_435_457, WHOLE),
        ({"layout": "single"}, 10**12, ("run",)),
        ({"layout": "steps"}, 1, WHOLE),
        ({"single_pod_bytes": "100"}, 100, ("plan", "run")),
        ({"single_pod_bytes": "100"}, 101, WHOLE),
        ({"select": "fact_sales"}, 1, FAN_OUT),
        ({"layout": "single", "select": "fact_sales"}, 1, FAN_OUT),
    ],
)
def test_the_layout_decides_which_pods_run(
    tmp_path: Path, parameters: dict[str, str], size: int, pods: tuple[str, ...]
) -> None:
    plan = {"shards": "[0, 1]", "targets": "postgres,bigquery", "bytes": str(size)}
    spec = one(objects(), "WorkflowTemplate")["spec"]
    argo = Pods(spec, tmp_path, **plan)
    argo.submit("sales-mart-abcde", **parameters)
    assert tuple(name for (name,) in argo.ran) == pods


def test_both_templates_run_the_same_pipeline() -> None:
    found = objects({"notify": {"enabled": True}})
    daily = {each["name"]: each for each in one(found, "WorkflowTemplate")["spec"]["templates"]}
    past = one(found, "WorkflowTemplate", "sales-mart-backfill")["spec"]["templates"]
    past = {each["name"]: each for each in past}
    assert set(daily) == STEPS | {"pipeline", "notify", "exit"}
    assert set(past) == set(daily) | GROUPS | {"days"}
    for name in STEPS | {"notify"}:
        ours, theirs = copy.deepcopy(daily[name]), copy.deepcopy(past[name])
        ours.pop("metrics", None)
        theirs.pop("metrics", None)
        assert ours == theirs
    assert daily["pipeline"]["dag"] == past["pipeline"]["dag"]
    assert past["one-by-one"]["parallelism"] == 1
    assert past["one-by-one"]["failFast"] is True
    assert "steps" in past["one-by-one"], "a graph that fails fast never ends"


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        ("Succeeded", "0", False),
        ("Failed", "1", False),
        ("Failed", "2", False),
        ("Failed", "65", False),
        ("Failed", "75", True),
        ("Failed", "130", False),
        ("Failed", "137", True),
        ("Failed", "143", True),
        ("Failed", "-1", True),
        ("Error", "-1", True),
        ("Error", "", True),
    ],
)
def test_only_what_another_attempt_can_cure_is_tried_again(
    status: str, code: str, *, again: bool
) -> None:
    """Argo's expression, which is made of what means the same in Python, word for word but `||`."""
    last = SimpleNamespace(status=status, exitCode=code)
    for each in workflows(objects()):
        for template in each["spec"]["templates"]:
            if "container" in template:
                strategy = template["retryStrategy"]
                assert strategy["retryPolicy"] == "Always"
                assert (strategy["limit"], strategy["backoff"]["duration"]) == ("3", "300s")
                expression = strategy["expression"].replace("||", "or")
                assert eval(expression, {"lastRetry": last}) is again  # noqa: S307 - ours
            else:
                assert "retryStrategy" not in template, template["name"]


@pytest.mark.parametrize("length", [1, 20, 43, 53])
def test_names_stay_within_the_limits_of_argo(length: int) -> None:
    found = objects(name="x" * length)
    cron = next(each for each in found if each["kind"] == "CronWorkflow")
    name = cron["metadata"]["name"]
    assert len(f"{name}-1700000000") <= 63  # a workflow's name is the value of a label
    assert len(f"{name}-backfill-abcde") <= 63
    assert {each["metadata"]["name"] for each in workflows(found)} == {name, f"{name}-backfill"}
    assert cron["spec"]["workflowSpec"]["workflowTemplateRef"]["name"] == name
    assert len(f"{name}-backfill-abcde-2023-10-01") <= 100  # a run's name


# --- values


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"imag": {}}, "imag"),
        ({"workflow": {"scedule": "@daily"}}, "scedule"),
        ({"workflow": {"schedule": "every day"}}, "/workflow/schedule"),
        *(
            ({"workflow": {name: 0}}, f"/workflow/{name}")
            for name in (
                *("activeDeadlineSeconds", "backfillDeadlineSeconds", "parallelism", "shards"),
                "stepDeadlineSeconds",
            )
        ),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"steps": {"sael": {}}}, "sael"),
        ({"config": {"data_lak": {}}}, "data_lak"),
        ({"config": {"data_warehouse": {"postgres": {"password": "x"}}}}, "password"),
        ({"config": {"orchestration": {"timezone": "UTC"}}}, "orchestration"),
        ({"config": {"security": {"algorithm": "md5"}}}, "/config/security/algorithm"),
        ({"postgres": {"password": "x"}}, "password"),
        ({"resources": {"limit": {}}}, "limit"),
    ],
)
def test_an_unknown_or_wrong_value_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(named)):
        texts(values)


@pytest.mark.parametrize(
    ("values", "kinds", "changed"),
    [
        ({"image": {"tag": "1.2.3"}}, {"WorkflowTemplate", "Pod"}, {"image"}),
        ({"workflow": {"schedule": "@daily"}}, {"CronWorkflow"}, {"schedules"}),
        ({"workflow": {"suspend": True}}, {"CronWorkflow"}, {"suspend"}),
        (
            {"resources": {"limits": {"memory": "4Gi"}}},
            {"WorkflowTemplate", "Pod"},
            {"memory"},
        ),
        (
            {"steps": {"seal": {"resources": {"limits": {"memory": "4Gi"}}}}},
            {"WorkflowTemplate"},
            {"memory"},
        ),
        ({"postgres": {"secretName": "other"}}, {"WorkflowTemplate", "Pod"}, {"name"}),
        ({"piiHashKey": {"key": "other"}}, {"WorkflowTemplate", "Pod"}, {"key"}),
        ({"namespace": "other"}, KINDS | {"Pod"}, {"namespace"}),
        (
            {"config": {"data_warehouse": {"targets": ["postgres"]}}},
            {"ConfigMap", "WorkflowTemplate"},
            {"mutexes", "pipeline_config.yaml"},
        ),
        ({"workflow": {"retry": {"backoff": "5s"}}}, {"WorkflowTemplate"}, {"duration"}),
    ],
)
def test_a_value_changes_what_it_is_about_and_nothing_else(
    values: dict[str, Any], kinds: set[str], changed: set[str]
) -> None:
    before, after = objects(), objects(values)
    differing: set[str] = set()
    where: set[str] = set()
    for ours, theirs in zip(before, after, strict=True):
        found = set(_differences(ours, theirs, ""))
        differing |= found
        where |= {ours["kind"]} if found else set()
    assert where == kinds
    assert differing == changed


def _differences(ours: Any, theirs: Any, key: str) -> Any:
    """Yield the keys below which two documents differ; lists of other lengths as a whole."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours | theirs:
            yield from _differences(ours.get(name), theirs.get(name), name)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for left, right in zip(ours, theirs, strict=True):
            yield from _differences(left, right, key)
    elif ours != theirs:
        yield key


OTHERS: dict[str, Any] = {
    "affinity": {"nodeAffinity": {}},
    "api.allowedFrom": [],
    "api.resources": {"limits": {"cpu": "3"}},
    "api.target": "bigquery",
    "config": {"data_lake": {"lake": "/elsewhere"}},
    "executor.resources": {"limits": {"cpu": "1"}},
    "externalSecrets.secretStore.kind": "SecretStore",
    "extraEnv": [{"name": "OTHER", "value": "1"}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/other"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "other"}}],
    "image.digest": f"sha256:{'1' * 64}",
    "image.pullPolicy": "Always",
    "image.pullSecrets": ["other"],
    "networkPolicy.apiServerPorts": [8443],
    "networkPolicy.extraEgress": [],
    "podSecurityContext": {"runAsUser": 4321},
    "prometheusRule.quarantinedShare": 0.5,
    "resources": {"limits": {"cpu": "3"}},
    "serviceMonitor.interval": "5s",
    "steps": {"seal": {"resources": {"limits": {"cpu": "3"}}}},
    "tolerations": [],
    "workflow.layout": "single",
    "workflow.podGCDelay": "5s",
    "workflow.retry.backoff": "5s",
    "workflow.schedule": "@daily",
}
"""Another value, where none can be made of the default."""
NEEDED = {
    "api.bigquery.key": ("api.target", "bigquery"),
    "api.bigquery.secretName": ("api.target", "bigquery"),
    "image.tag": ("image.digest", ""),
}
"""Another value without which one has no effect."""


@pytest.mark.parametrize("path", list(chart_values_script.leaves()))
def test_every_value_has_effect(path: str) -> None:
    base = copy.deepcopy(EVERYTHING)
    if path in NEEDED:
        needed, value = NEEDED[path]
        place, last = _place(base, needed)
        place[last] = value
    changed = copy.deepcopy(base)
    place, last = _place(changed, path)
    default = chart_values_script.leaves()[path]
    before = place.get(last, default)
    place[last] = OTHERS[path] if path in OTHERS else _another(before)
    assert texts(changed) != texts(base)


def _place(values: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """Return what holds a value, and its key in it."""
    *above, last = path.split(".")
    for key in above:
        values = values.setdefault(key, {})
    return values, last


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return {**value, "other": "x"} if isinstance(value, dict) else f"{value}x"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
        ({"externalSecrets": {"enabled": True}}, "secretStore.name"),
        ({"externalSecrets": {"enabled": True, "secretStore": {"name": "x"}}}, "at least one"),
        (
            {
                "bigquery": {"secretName": ""},
                "externalSecrets": {
                    "enabled": True,
                    "secretStore": {"name": "x"},
                    "remoteKeys": {"bigquery": "y"},
                },
            },
            "has no name",
        ),
        ({"networkPolicy": {"enabled": True, "apiServerPorts": []}}, "apiServerPorts"),
        ({"notify": {"enabled": True, "secretName": ""}}, "/notify/secretName"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmError, match=message):
        texts(values)


def test_a_disruption_budget_is_a_number() -> None:
    for each in workflows(objects()):
        assert each["spec"]["podDisruptionBudget"] == {"minAvailable": 9999}


def test_null_takes_a_default_of_the_security_context_away() -> None:
    ids = ("runAsUser", "runAsGroup", "fsGroup")
    found = objects({"podSecurityContext": dict.fromkeys(ids)})
    pods = [each["spec"] for each in (*workflows(found), one(found, "Pod", "sales-mart-doctor"))]
    for pod in pods:
        assert not set(ids) & set(pod["securityContext"])
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_names_that_look_like_numbers_stay_text() -> None:
    found = objects({"piiHashKey": {"key": "yes"}, "postgres": {"userKey": "123"}})
    keys = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for _, container in containers(found)
        for variable in container["env"]
        if "valueFrom" in variable
    }
    assert keys == {"yes", "123", "password"}


def test_workload_identity_may_reach_the_metadata_server() -> None:
    values = {"networkPolicy": {"enabled": True}, "bigquery": {"secretName": ""}}
    without = one(objects({**values, "bigquery": {}}), "NetworkPolicy")["spec"]["egress"]
    rules = one(objects(values), "NetworkPolicy")["spec"]["egress"]
    assert [each["to"] for each in rules if "to" in each] == [
        [
            {"ipBlock": {"cidr": "169.254.169.252/32"}},
            {"ipBlock": {"cidr": "169.254.169.254/32"}},
        ]
    ]
    assert not [each for each in without if "to" in each]
    for rule in (*rules, *without):
        assert rule["ports"]


@pytest.mark.parametrize(
    ("config", "is_open"),
    [
        ({}, False),
        ({"data_lake": {"lake": "/lake", "source": "/lake/in/*.csv"}}, False),
        ({"data_lake": {"source": "gs://raw/*.csv"}}, True),
        ({"data_lake": {"source": ["/lake/in/*.csv", "gs://raw/*.csv"]}}, True),
        ({"data_lake": {"source": ["/lake/a.csv", "/lake/b.csv"], "lake": "/lake"}}, False),
        ({"data_lake": {"gcs_bucket": "raw"}}, True),
        ({"data_mart": {"export": "gs://out/x"}}, True),
        ({"data_lake": {"source": ["/lake/in/*.csv", "s3://raw/*.csv"]}}, True),
        ({"data_mart": {"export": "az://out/x"}}, True),
    ],
)
def test_nobody_reaches_a_metadata_server_who_asks_no_cloud_for_anything(
    config: dict[str, Any], *, is_open: bool
) -> None:
    values = {
        "networkPolicy": {"enabled": True},
        "bigquery": {"secretName": ""},
        "config": {"data_warehouse": {"targets": ["postgres"]}, **config},
    }
    rules = one(objects(values), "NetworkPolicy")["spec"]["egress"]
    assert any("to" in each for each in rules) is is_open


def test_the_keys_of_a_store_are_variables_of_every_step() -> None:
    config = {"data_lake": {"lake": "s3://lake/runs"}, "data_warehouse": {"targets": ["postgres"]}}
    values = {
        "networkPolicy": {"enabled": True},
        "bigquery": {"secretName": ""},
        "config": config,
        "objectStore": {"secretName": "lake-keys"},
    }
    found = objects(values)
    every = dict(containers(found))
    assert {"plan", "validate", "doctor"} <= every.keys()
    for each in every.values():
        assert each["envFrom"] == [{"secretRef": {"name": "lake-keys"}}]
    rules = one(found, "NetworkPolicy")["spec"]["egress"]
    assert not [each for each in rules if "to" in each]
    values["objectStore"] = {"secretName": ""}
    assert not any("envFrom" in each for _, each in containers(objects(values)))


def test_workflows_go_on_their_own_however_they_end() -> None:
    found = objects({"workflow": {"ttlSecondsAfterSuccess": 5, "ttlSecondsAfterFailure": 7}})
    for each in workflows(found):
        # Argo calls the end by an error of its own no failure.
        assert each["spec"]["ttlStrategy"] == {
            "secondsAfterSuccess": 5,
            "secondsAfterFailure": 7,
            "secondsAfterCompletion": 7,
        }


def test_a_backfill_that_took_all_its_time_can_still_be_told_of() -> None:
    values = {"prometheusRule": {"enabled": True}, "workflow": {"backfillDeadlineSeconds": 1000}}
    (group,) = one(objects(values), "PrometheusRule")["spec"]["groups"]
    (query,) = [r["expr"] for r in group["rules"] if r["alert"] == "SalesMartBackfillFailed"]
    assert query.endswith("< 173800")


def test_the_pods_configuration_is_the_file_s(tmp_path: Path) -> None:
    original = load_config(ROOT / "samples" / "pipeline_config.yaml", environ={})
    original = Config.model_validate(
        {**original.model_dump(by_alias=True), "orchestration": {"timezone": "Asia/Jakarta"}}
    )
    found = objects(chart_values(original))
    config = next(each for each in found if each["kind"] == "ConfigMap")
    path = tmp_path / "pipeline_config.yaml"
    path.write_text(config["data"]["pipeline_config.yaml"])
    assert load_config(path, environ={}).digest == original.digest


@pytest.mark.parametrize(
    "text", ["'; drop table x; --", "{{ env_var('X') }}", 'a\\b"c%_', "$(id)\n"]
)
def test_a_hostile_value_stays_data(tmp_path: Path, text: str) -> None:
    values = {"config": {"ingestion": {"validation": {"product_prefix": text}}}}
    config = one(objects(values), "ConfigMap")
    path = tmp_path / "pipeline_config.yaml"
    path.write_text(config["data"]["pipeline_config.yaml"])
    assert load_config(path, environ={}).rules.product_prefix == text
    ours, theirs = workflows(objects(values)), workflows(objects())
    assert ours == theirs


def test_a_key_of_0_1_still_reaches_the_pods(tmp_path: Path) -> None:
    values = {"config": {"data_warehouse": {"postgres": {"lock_timeout": 7}}}}
    path = tmp_path / "pipeline_config.yaml"
    path.write_text(one(objects(values), "ConfigMap")["data"]["pipeline_config.yaml"])
    assert load_config(path, environ={}).data_warehouse.lock_timeout == 7


def test_a_value_of_0_1_still_has_effect() -> None:
    assert objects({"scratch": {"sizeLimit": "7Gi"}}) == objects(
        {"temporaryFiles": {"sizeLimit": "7Gi"}}
    )


def test_large_numbers_stay_numbers(tmp_path: Path) -> None:
    values = {"config": {"ingestion": {"validation": {"max_quantity": 1_000_000_000}}}}
    path = tmp_path / "pipeline_config.yaml"
    path.write_text(one(objects(values), "ConfigMap")["data"]["pipeline_config.yaml"])
    assert load_config(path, environ={}).rules.max_quantity == 1_000_000_000


def test_the_alerts_are_prometheus_queries_about_the_workflow_s_metrics() -> None:
    found = objects({"prometheusRule": {"enabled": True}})
    defined = set(re.findall(r"name: (sales_mart_\w+)", "\n".join(texts().values())))
    rules = one(found, "PrometheusRule")["spec"]["groups"][0]["rules"]
    used: set[str] = set()
    for rule in rules:
        promql_parser.parse(rule["expr"])
        used |= set(re.findall(r"argo_workflows_(sales_mart_\w+)", rule["expr"]))
    assert used <= defined
    assert len(rules) == 5
    assert all('workflow_namespace="data-pipeline"' in rule["expr"] for rule in rules)


def test_the_notes_name_the_next_commands_and_the_secrets() -> None:
    notes = texts({"notify": {"enabled": True}})["sales-mart/templates/NOTES.txt"]
    for text in (
        "helm test sales-mart",
        "cronwf/sales-mart",
        "sales-mart-backfill",
        "pii-hash-key",
    ):
        assert text in notes
    assert "WARNING: no lake" in notes
    assert "WARNING" not in texts(EVERYTHING)["sales-mart/templates/NOTES.txt"]
