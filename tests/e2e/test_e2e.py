"""The chart on a real cluster: what `sales-mart run` does on a laptop, and what only pods meet."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from chart.rendering import MATRIX
from e2e.cluster import CHART, wait_for
from hooks import webhook
from sales_mart.config import Config
from sales_mart.lake.storage import open_storage
from sales_mart.steps.pipeline import run
from sales_mart.steps.status import summarise
from sales_mart.steps.summary import published_summary
from sales_mart.synthetic.generate import generate
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cluster import Workflow
    from e2e.conftest import Release

FILES = ("summary_sales.json", "summary_sales.csv", "summary_sales.parquet")
STEPS = (
    *("plan", "validate", "seal", "load-postgres", "load-bigquery", "transform", "reconcile"),
    *("publish", "export"),
)
DAY = date(2023, 10, 5)
HALAL = Config.model_validate({"ingestion": {"validation": {"product_prefix": "Halal"}}})


def put(place: str, name: str, rows: int, *, seed: int = 1, **options: Any) -> None:
    """Write a generated file."""
    text = b"".join(generate(rows, seed=seed, config=HALAL, **options))
    open_storage(place).write(name, text)


def shown(config: Config, target: Target) -> list[tuple[Any, ...]]:
    """Read the summary that readers see."""
    with published_summary(config, target) as (_, rows):
        return [tuple(row) for row in rows]


def counts(release: Release, name: str) -> tuple[int, int, int]:
    """Return rows read, valid and rejected of a run."""
    from sales_mart.lake.runs import RunFolder

    rows = summarise(RunFolder(f"{release.lake}/lake", name)).rows
    assert rows is not None
    return rows.rows_read, rows.rows_valid, rows.rows_rejected


def exports(place: str) -> list[bytes]:
    """Read the exported files."""
    storage = open_storage(place)
    return [storage.read(name) for name in FILES]


@pytest.fixture(scope="module")
def daily(release: Release) -> tuple[Release, list[bytes]]:
    """Return the release with a source of three files, and what a run on this machine exports."""
    for seed in range(3):
        put(f"{release.lake}/raw", f"part-{seed}.csv", 3_000, seed=seed)
    elsewhere = release.config("elsewhere")
    config = release.outside(elsewhere)
    summary = run(config, f"{release.lake}/elsewhere", business_date=DAY, run_id="reference")
    assert summary.rows is not None
    return release, exports(f"{release.lake}/elsewhere/export")


def check(daily: tuple[Release, list[bytes]], name: str) -> None:
    """Check that a workflow left what the run on this machine left."""
    release, wanted = daily
    assert exports(f"{release.lake}/lake/export") == wanted
    config = release.outside()
    reference = release.outside(release.config("elsewhere"))
    for target in Target:
        assert shown(config, target) == shown(reference, target)
    read, valid, rejected = counts(release, name)
    assert (read, valid + rejected) == (9_000, 9_000)


def test_every_object_passes_strict_validation_by_the_server(release: Release) -> None:
    """`--dry-run=server --validate=strict` takes every object"""
    merged = {**release.values, "networkPolicy": {"enabled": True}, "notify": {"enabled": True}}
    text = release.cluster.helm("template", "sales-mart", str(CHART), values=merged)
    release.cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=text)


@pytest.mark.parametrize("name", MATRIX)
def test_argo_lints_what_is_rendered(release: Release, tmp_path: Path, name: str) -> None:
    """`argo lint` takes the workflows of every set of values"""
    text = release.cluster.helm("template", "sales-mart", str(CHART), values=MATRIX[name])
    files: list[str] = []
    for each in yaml.safe_load_all(text):
        if each and each["apiVersion"].startswith("argoproj.io"):
            path = tmp_path / f"{len(files)}.yaml"
            path.write_text(json.dumps(each))
            files.append(str(path))
    assert len(files) == 3
    release.cluster.run("argo", "lint", "--offline", *files)


def test_helm_test_passes(daily: tuple[Release, list[bytes]]) -> None:
    """`helm test` runs the doctor"""
    assert "Succeeded" in daily[0].cluster.helm("test", "sales-mart")


def test_a_submitted_run_gives_what_a_laptop_gives(daily: tuple[Release, list[bytes]]) -> None:
    """`argo submit --from cronwf/sales-mart`: marts, summary and counts as `sales-mart run`"""
    cluster = daily[0].cluster
    name = cluster.submit(business_date=str(DAY))
    ended = cluster.succeeded(name)
    assert {each["templateName"] for each in ended.pods()} == set(STEPS)
    assert len(ended.pods()) == len(STEPS)
    check(daily, name)


def test_shards_in_parallel_give_the_same(daily: tuple[Release, list[bytes]]) -> None:
    """Three shards in three pods give the same bytes"""
    cluster = daily[0].cluster
    name = cluster.submit(business_date=str(DAY), shards="3")
    assert len(cluster.succeeded(name).pods("validate")) == 3
    check(daily, name)


def test_one_pod_for_the_whole_run(daily: tuple[Release, list[bytes]]) -> None:
    """`layout=single`: one pod, the same marts, summary and counts"""
    cluster = daily[0].cluster
    name = cluster.submit(business_date=str(DAY), layout="single")
    ended = cluster.succeeded(name)
    assert [each["templateName"] for each in ended.pods()] == ["run"]
    check(daily, name)


def test_a_small_input_gets_one_pod(daily: tuple[Release, list[bytes]]) -> None:
    """`layout=auto`: `plan`, then one pod; deleted while it runs, it is tried again"""
    cluster = daily[0].cluster
    name = cluster.submit(business_date=str(DAY), layout="auto")

    # Argo tries again in a new pod, or makes the same one anew when it had not yet seen it run.
    found: dict[str, str] = {}
    while cluster.workflow(name).phase in ("", "Pending", "Running"):
        label = f"workflows.argoproj.io/workflow={name}"
        for pod in cluster.get("pods", "-l", label)["items"]:
            node = pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]
            is_run = ".run-small" in node and pod["status"]["phase"] == "Running"
            if is_run and not found:
                cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
            if is_run:
                found[pod["metadata"]["uid"]] = node
        time.sleep(0.3)
    ended = cluster.succeeded(name)
    assert len(found) == 2
    assert {each["templateName"] for each in ended.pods()} == {"plan", "run"}
    check(daily, name)


def test_one_pod_says_which_step_failed(daily: tuple[Release, list[bytes]]) -> None:
    """`layout=single` with bad data: exit 65 at once, and the step in `argo get`"""
    release, wanted = daily
    open_storage(f"{release.lake}/bad").write("a.csv", b"no,header\n1,2\n")
    source = f"{release.lake}/bad/*.csv"
    ended = release.cluster.finished(release.cluster.submit(source=source, layout="single"))
    assert ended.phase == "Failed"
    (attempt,) = ended.pods("run")
    assert attempt["outputs"]["exitCode"] == "65"
    # Argo may say before it which container it was, and the exit code.
    assert "validate: " in attempt["message"], attempt["message"]
    assert exports(f"{release.lake}/lake/export") == wanted


def test_a_deleted_pod_is_tried_again_in_every_step(daily: tuple[Release, list[bytes]]) -> None:
    """A running pod deleted in each step: the retry succeeds, nothing is lost or doubled"""
    cluster = daily[0].cluster
    name = cluster.submit(business_date=str(DAY))
    # Argo tries again in a new pod, or makes the same one anew when it had not yet seen it run.
    pods: dict[str, set[str]] = {step: set() for step in STEPS}
    deleted: set[str] = set()
    deadline = time.monotonic() + 1500
    while cluster.workflow(name).phase in ("", "Pending", "Running"):
        assert time.monotonic() < deadline, pods
        label = f"workflows.argoproj.io/workflow={name}"
        for pod in cluster.get("pods", "-l", label)["items"]:
            step = pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]
            step = step.rpartition(".")[2].partition("(")[0]
            if pod["status"]["phase"] == "Running" and step not in deleted:
                deleted.add(step)
                cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
            pods[step].add(pod["metadata"]["uid"])
        time.sleep(0.3)
    cluster.succeeded(name)
    assert [step for step, found in pods.items() if len(found) < 2] == []
    check(daily, name)


def test_postgres_may_be_away_for_a_minute(daily: tuple[Release, list[bytes]]) -> None:
    """PostgreSQL away for a minute: exit 75, and the retry succeeds"""
    release, _ = daily
    cluster, way = release.cluster, release.servers.postgres
    if way is None:
        pytest.skip("E2E_POSTGRES names a server that is not ours to stop")
    release.upgrade(workflow={**release.values["workflow"], "retry": {"backoff": "20s"}})
    name = cluster.submit(business_date=str(DAY))
    wait_for("end of seal", lambda: _has_ended(cluster.workflow(name), "seal"), 600)
    way.stop()
    back = threading.Timer(60, way.start)
    back.start()
    try:
        ended = cluster.succeeded(name)
    finally:
        back.join()
        release.upgrade()
    attempts = ended.pods("load-postgres")
    assert len(attempts) >= 2
    codes = [each["outputs"]["exitCode"] for each in attempts]
    assert codes[0] == "75"
    assert codes[-1] == "0"
    check(daily, name)


def _has_ended(found: Workflow, step: str) -> bool:
    return any(each["phase"] == "Succeeded" for each in found.pods(step))


def test_bad_data_fails_at_once(daily: tuple[Release, list[bytes]]) -> None:
    """Bad data: exit 65 at once, without a retry, and the reason in `argo get`"""
    release, wanted = daily
    open_storage(f"{release.lake}/bad").write("a.csv", b"no,header\n1,2\n")
    name = release.cluster.submit(source=f"{release.lake}/bad/*.csv")
    ended = release.cluster.finished(name)
    assert ended.phase == "Failed"
    (attempt,) = ended.pods("validate")
    assert attempt["outputs"]["exitCode"] == "65"
    assert "transaction_id" in attempt["message"], attempt["message"]
    assert exports(f"{release.lake}/lake/export") == wanted


def test_a_webhook_is_told_what_failed(daily: tuple[Release, list[bytes]]) -> None:
    """A webhook is told how a workflow ended: what failed and why, or how many rows; one that is away fails nothing"""
    release, _ = daily
    with webhook(host=release.servers.host) as (address, told):
        release.cluster.secret("sales-mart-webhook", url=address)
        release.upgrade(notify={"enabled": True})
        try:
            open_storage(f"{release.lake}/bad").write("a.csv", b"no,header\n1,2\n")
            source = f"{release.lake}/bad/*.csv"
            failed = release.cluster.finished(release.cluster.submit(source=source))
            done = release.cluster.submit(business_date=str(DAY), targets="postgres")
            release.cluster.succeeded(done)
            release.cluster.secret("sales-mart-webhook", url="http://127.0.0.1:9/away")
            release.cluster.succeeded(
                release.cluster.submit(business_date=str(DAY), targets="postgres")
            )
        finally:
            release.upgrade()
    first, second = told
    assert (first["workflow"], first["status"]) == (failed.name, "Failed")
    (failure,) = first["failures"]
    assert failure["step"].startswith("validate")
    assert "transaction_id" in failure["message"]
    assert (second["workflow"], second["status"], second["failures"]) == (done, "Succeeded", [])
    assert [each["rows_read"] for each in second["runs"]] == [9_000]


def test_a_wrong_configuration_fails_at_once(daily: tuple[Release, list[bytes]]) -> None:
    """A missing key: exit 2 at once, and what to do about it"""
    cluster = daily[0].cluster
    cluster.kubectl("delete", "secret", "pii-hash-key")
    try:
        ended = cluster.finished(cluster.submit(business_date=str(DAY)))
    finally:
        from e2e.conftest import KEY

        cluster.secret("pii-hash-key", key=KEY)
    (attempt,) = ended.pods("validate")
    assert attempt["outputs"]["exitCode"] == "2"
    assert "PII_HASH_KEY" in attempt["message"]


def test_two_submissions_at_once(daily: tuple[Release, list[bytes]]) -> None:
    """Two submissions at once run one after the other"""
    cluster = daily[0].cluster
    names = [cluster.submit(business_date=str(DAY)) for _ in range(2)]
    first, second = sorted(
        (cluster.succeeded(name) for name in names),
        key=lambda each: min(pod["startedAt"] for pod in each.pods()),
    )
    assert first.document["status"]["finishedAt"] <= min(pod["startedAt"] for pod in second.pods())
    check(daily, second.name)


def test_postgres_alone(daily: tuple[Release, list[bytes]]) -> None:
    """Only PostgreSQL: no pod for BigQuery, the same export"""
    release, wanted = daily
    name = release.cluster.submit(business_date=str(DAY), targets="postgres")
    ended = release.cluster.succeeded(name)
    assert ended.pods("load-bigquery") == []
    assert exports(f"{release.lake}/lake/export") == wanted


def test_a_part_of_the_marts_is_never_published(daily: tuple[Release, list[bytes]]) -> None:
    """`select`: the named models are built and tested, nothing is published"""
    release, wanted = daily
    ended = release.cluster.succeeded(
        release.cluster.submit(business_date=str(DAY), select="fact_sales")
    )
    assert ended.pods("publish") == ended.pods("export") == []
    assert exports(f"{release.lake}/lake/export") == wanted


@pytest.fixture(scope="module")
def by_day(release: Release) -> str:
    """Put three days of a daily source there; gives the source."""
    for ordinal in range(3):
        day = date(2023, 10, 1) + timedelta(days=ordinal)
        put(f"{release.lake}/days/{day}", "a.csv", 600, seed=ordinal + 10, start=day, days=1)
    return f"{release.lake}/days/{{date}}/*.csv"


def test_a_backfill_of_three_days(release: Release, by_day: str) -> None:
    """Backfill of three days, one after the other: the marts of `sales-mart run` day by day"""
    cluster = release.cluster
    reference = release.outside(release.apart("backfilled"))
    days = [date(2023, 10, 1) + timedelta(days=ordinal) for ordinal in range(3)]
    for day in days:
        run(reference, f"{release.lake}/backfilled", business_date=day, source=by_day)
    # The snapshot of the other tests stays in the marts; a config of its own keeps it apart.
    own = release.apart("past")
    release.upgrade(config=own)
    try:
        name = cluster.submit(
            "workflowtemplate/sales-mart-backfill",
            **{"from": "2023-10-01", "to": "2023-10-03", "source": by_day},
        )
        ended = cluster.succeeded(name, 1800)
        spans = [
            (min(p["startedAt"] for p in pods), max(p["finishedAt"] for p in pods))
            for day in days
            if (pods := [p for p in ended.pods() if str(day) in json.dumps(p.get("inputs", {}))])
        ]
        assert len(spans) == 3
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        past = release.outside(own)
        for target in Target:
            assert shown(past, target) == shown(reference, target)
            assert len(shown(past, target)) > 0
    finally:
        release.upgrade()


def test_a_catch_up_runs_what_was_never_loaded(release: Release) -> None:
    """Catch-up: the days that the warehouse has not loaded, then nothing"""
    cluster = release.cluster
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=ago) for ago in (2, 1)]
    for day in days:
        put(f"{release.lake}/recent/{day}", "a.csv", 100, start=day, days=1)
    own = release.apart("caught_up")
    own["data_warehouse"] = {**own["data_warehouse"], "targets": ["postgres"]}
    release.upgrade(config=own)
    given = {"catch-up": "2", "source": f"{release.lake}/recent/{{date}}/*.csv"}
    try:
        ended = cluster.succeeded(cluster.submit("workflowtemplate/sales-mart-backfill", **given))
        assert len(ended.pods("export")) == 2
        ended = cluster.succeeded(cluster.submit("workflowtemplate/sales-mart-backfill", **given))
        assert [each["templateName"] for each in ended.pods()] == ["days"]
    finally:
        release.upgrade()


def test_a_backfill_stops_at_the_first_failure(release: Release, by_day: str) -> None:
    """A backfill stops at the day that fails, and says which; a snapshot is refused"""
    cluster = release.cluster
    release.upgrade(config=release.apart("stopped"))
    try:
        ended = cluster.finished(
            cluster.submit(
                "workflowtemplate/sales-mart-backfill",
                **{
                    "from": "2023-09-30",
                    "to": "2023-10-01",
                    "source": by_day,
                },
            )
        )
        assert ended.phase == "Failed"
        assert len(ended.pods("plan")) == 1
        assert "2023-09-30" in ended.pods("plan")[0]["message"]
        ended = cluster.finished(
            cluster.submit(
                "workflowtemplate/sales-mart-backfill",
                **{"from": "2023-10-01", "to": "2023-10-01"},
            )
        )
        (attempt,) = ended.pods("days")
        assert attempt["outputs"]["exitCode"] == "2"
        assert "snapshot" in attempt["message"]
    finally:
        release.upgrade()


def test_helm_upgrade_with_other_values(daily: tuple[Release, list[bytes]]) -> None:
    """`helm upgrade` with other values is what the next run uses"""
    release, _ = daily
    release.upgrade(resources={"limits": {"cpu": "700m", "memory": "900Mi"}, "requests": {}})
    try:
        name = release.cluster.submit(business_date=str(DAY))
        label = f"workflows.argoproj.io/workflow={name}"
        pods = wait_for(
            "pod", lambda: release.cluster.get("pods", "-l", label)["items"], 60, pause=0.3
        )
        main = next(each for each in pods[0]["spec"]["containers"] if each["name"] == "main")
        assert main["resources"]["limits"] == {"cpu": "700m", "memory": "900Mi"}
        release.cluster.succeeded(name)
    finally:
        release.upgrade()
    check(daily, name)


def test_no_secret_and_no_raw_identifier_in_any_object(daily: tuple[Release, list[bytes]]) -> None:
    """No password, key or raw identifier in any object of the namespace but the secrets"""
    from e2e.conftest import KEY

    release, _ = daily
    release.cluster.finished(release.cluster.submit(business_date=str(DAY), targets="postgres"))
    kinds = "workflows,workflowtemplates,cronworkflows,configmaps,pods,events,workflowtaskresults"
    text = release.cluster.kubectl("get", kinds, "-o", "json")
    raw = open_storage(f"{release.lake}/raw").read("part-0.csv").decode(errors="replace")
    identifiers = {line.partition(",")[0].strip() for line in raw.splitlines()[1:]}
    long = {each for each in identifiers if re.fullmatch("[A-Z][0-9]{5,}", each)}
    assert len(long) > 100
    for secret in (release.servers.password, KEY, *long):
        assert secret not in text


# A snapshot of yesterday: after it, an older one is refused, so it comes behind the others.
def test_the_schedule_fires_by_itself(daily: tuple[Release, list[bytes]]) -> None:
    """A CronWorkflow that fires by itself, about the day that had just ended"""
    release, _ = daily
    cluster = release.cluster
    known = {each.name for each in cluster.workflows()}
    # A controller without a database of time zones knows UTC alone.
    zone = {**release.values["workflow"], "timezone": os.environ.get("E2E_TIMEZONE", "UTC")}
    release.upgrade(workflow={**zone, "schedule": "* * * * *", "suspend": False})

    def fired() -> list[str]:
        return [each.name for each in cluster.workflows() if each.name not in known]

    found: list[str] = wait_for("scheduled workflow", fired, 180)
    # The time zone shapes a run: it stays until the run has ended.
    release.upgrade(workflow=zone)
    try:
        ended = cluster.succeeded(found[0])
    finally:
        release.upgrade()
    annotations = ended.document["metadata"]["annotations"]
    fired_at = datetime.fromisoformat(annotations["workflows.argoproj.io/scheduled-time"])
    day = fired_at.astimezone(ZoneInfo(zone["timezone"])).date() - timedelta(days=1)
    from sales_mart.lake.runs import RunFolder

    assert summarise(RunFolder(f"{release.lake}/lake", found[0])).business_date == day


def test_uninstall_leaves_nothing(release: Release) -> None:
    """`helm uninstall` leaves nothing"""
    cluster = release.cluster
    cluster.kubectl("delete", "workflows", "--all")
    cluster.helm("uninstall", "sales-mart", "--wait")
    kinds = "workflowtemplates,cronworkflows,configmaps,serviceaccounts,roles,rolebindings,pods"
    kinds += ",networkpolicies,poddisruptionbudgets"

    def left() -> list[str]:
        return [
            f"{each['kind']}/{each['metadata']['name']}"
            for each in cluster.get(kinds)["items"]
            if each["metadata"]["name"] not in ("default", "kube-root-ca.crt")
        ]

    # Pods of the workflows go after them.
    wait_for("empty namespace", lambda: not left(), 120)
