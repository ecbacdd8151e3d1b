"""`sales-mart serve` on a real cluster: its pods show what the workflow has just published."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from e2e.cluster import wait_for
from e2e.test_e2e import put
from sales_mart.api.keys import add_key
from sales_mart.steps.summary import published_summary
from targets import Target

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from e2e.cluster import Cluster
    from e2e.conftest import Release

NAME = "sales-mart-api"
SELECTOR = f"app.kubernetes.io/name={NAME}"
SECONDS = 60
# A client that tries again, as any should: with the standard library of the image.
CLIENT = """
import json, os, sys, time, urllib.request
key, address, seconds = os.environ["KEY"], sys.argv[1], float(sys.argv[2])
answers, tags, failed, last = 0, set(), 0, ""
until = time.monotonic() + seconds
while time.monotonic() < until:
    for pause in (0.2, 1, 2, 0):
        try:
            asked = urllib.request.Request(
                f"{address}/sales/summary?limit=1000", headers={"Authorization": f"Bearer {key}"}
            )
            with urllib.request.urlopen(asked, timeout=5) as answer:
                last = answer.read().decode()
                tags.add(answer.headers["ETag"])
            answers += 1
            break
        except OSError:
            time.sleep(pause)
    else:
        failed += 1
    time.sleep(0.2)
print(json.dumps({"answers": answers, "failed": failed, "tags": len(tags), "last": last}))
"""


class Service(NamedTuple):
    """The API in the cluster, the run that was published before it started, and a key."""

    release: Release
    config: dict[str, Any]
    run_id: str
    key: str


@pytest.fixture(scope="module")
def service(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:
    """Publish a run, then let the chart start the API."""
    put(f"{release.lake}/served", "sales.csv", 300, seed=7)
    config = release.apart("served")
    config["data_lake"]["source"] = f"{release.lake}/served/*.csv"
    release.upgrade(config=config)
    cluster = release.cluster
    run_id = cluster.submit(business_date=str(date(2023, 10, 5)))
    cluster.succeeded(run_id)
    folder: Path = tmp_path_factory.mktemp("keys")
    key = add_key(folder / "keys", "dashboard")
    cluster.secret("sales-mart-api-keys", keys=(folder / "keys").read_text(encoding="ascii"))
    cluster.secret("client", key=key)
    with read_only_role(release) as (user, password):
        cluster.secret("sales-mart-api-postgres", user=user, password=password)
        release.upgrade(config=config, api={"enabled": True})
        yield Service(release, config, run_id, key)
        release.upgrade()


@contextmanager
def read_only_role(release: Release) -> Generator[tuple[str, str]]:
    """Make a role that can read everything and change nothing."""
    postgres = release.outside().data_warehouse.postgres
    user, password = f"api_{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        dbname=postgres.dbname,
        user=release.servers.user,
        password=release.servers.password,
        autocommit=True,
    ) as admin:
        role = Identifier(user)
        admin.execute(SQL("create role {} login password {}").format(role, Literal(password)))
        admin.execute(SQL("grant pg_read_all_data to {}").format(role))
        yield user, password
        admin.execute(SQL("drop role {}").format(role))


def pods(cluster: Cluster) -> list[str]:
    """Return the names of the API's pods that are ready."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.get("pods", "-l", SELECTOR)["items"]
        if not pod["metadata"].get("deletionTimestamp")
        and all(each["ready"] for each in pod["status"].get("containerStatuses", [{"ready": 0}]))
    ]


def start_client(service: Service, name: str, seconds: float) -> None:
    """Start a pod that asks again and again."""
    release = service.release
    image = release.values["image"]
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "client", "key": "key"}}}
    container = {
        "name": "client",
        "image": f"{image['repository']}:{image['tag']}",
        "imagePullPolicy": image["pullPolicy"],
        "command": ["python", "-c", CLIENT, f"http://{NAME}", str(seconds)],
        "env": [key],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    release.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
            },
        }
    )


def said(cluster: Cluster, name: str, seconds: float) -> dict[str, Any]:
    """Wait until a client has ended; gives what it counted."""

    def ended() -> bool:
        return cluster.get("pod", name)["status"]["phase"] in ("Succeeded", "Failed")

    wait_for(f"end of {name}", ended, seconds)
    printed = cluster.kubectl("logs", name)
    cluster.kubectl("delete", "pod", name)
    return json.loads(printed.splitlines()[-1])


def test_a_deleted_pod_costs_a_client_no_answer(service: Service) -> None:
    """A client of the API gets every answer, the run's, while one of its pods is deleted"""
    cluster = service.release.cluster
    wait_for("pods of the autoscaler", lambda: len(pods(cluster)) == 2)
    before = pods(cluster)
    start_client(service, "client", SECONDS)
    wait_for("client", lambda: cluster.get("pod", "client")["status"]["phase"] == "Running")
    cluster.kubectl("delete", "pod", before[0], "--wait=false")
    counted = said(cluster, "client", SECONDS + 60)
    assert counted["failed"] == 0
    assert counted["answers"] > SECONDS
    assert counted["tags"] == 1
    wait_for("pod in its place", lambda: len(pods(cluster)) == 2)
    assert before[0] not in pods(cluster)
    answer = json.loads(counted["last"], parse_float=Decimal)
    with published_summary(service.release.outside(service.config), Target.POSTGRES) as (_, rows):
        wanted = sorted((row[0], f"{row[2]:.2f}") for row in rows)
    assert wanted
    found = [(row["product"], f"{row['total_amount']:.2f}") for row in answer]
    assert sorted(found) == wanted


def test_it_knows_the_run_that_was_published(service: Service) -> None:
    """The API tells of the run that the workflow has published"""
    cluster = service.release.cluster
    script = (
        "import os, urllib.request; print(urllib.request.urlopen(urllib.request.Request("
        f"'http://127.0.0.1:8000/runs/{service.run_id}',"
        f" headers={{'Authorization': 'Bearer {service.key}'}})).read().decode())"
    )
    printed = cluster.kubectl("exec", f"deploy/{NAME}", "--", "python", "-c", script)
    assert service.run_id in printed


def test_it_is_scaled_by_its_own_rule(service: Service) -> None:
    """The autoscaler and the disruption budget know the API's pods"""
    cluster = service.release.cluster
    scaler = cluster.get("hpa", NAME)["spec"]
    assert scaler["scaleTargetRef"]["name"] == NAME
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 6)
    wait_for("pods of the autoscaler", lambda: len(pods(cluster)) == 2)

    def is_known() -> bool:
        budget = cluster.get("pdb", NAME)["status"]
        return budget.get("expectedPods") == 2 and budget.get("disruptionsAllowed") == 1

    wait_for("pods of the budget", is_known)
