"""The cluster, the servers, and one release of the chart for all tests of a session."""

from __future__ import annotations

import copy
import json
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cluster import CHART, Cluster, reason_to_skip
from e2e.servers import Servers, servers
from sales_mart.config import Config
from support import open_folder

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

KEY = "cuHRfBXPbeDgNoZ3vKq7sW1tYmLa9xEj"
REPORT = "E2E_REPORT"


class Release:
    """The installed chart, and the marts that belong to it."""

    def __init__(self, cluster: Cluster, around: Servers) -> None:
        unique = uuid.uuid4().hex[:8]
        self.cluster = cluster
        self.servers = around
        self.lake = f"{around.lake}/{unique}"
        self.values: dict[str, Any] = {
            "image": _image(around.image),
            "config": self.config(unique),
            "bigquery": {"secretName": "bigquery-credentials" if around.credentials else ""},
            "extraEnv": [
                {"name": name, "value": value} for name, value in around.environment.items()
            ],
            "workflow": {"layout": "steps", "retry": {"backoff": "5s"}, "suspend": True},
        }

    def config(self, unique: str, **mart: str) -> dict[str, Any]:
        """Return the configuration with datasets and schemas of its own."""
        return {
            "data_lake": {"source": f"{self.lake}/raw/*.csv", "lake": f"{self.lake}/lake"},
            "data_warehouse": {**self.servers.config, "dataset": f"raw_{unique}"},
            "data_mart": {
                "dataset": f"mart_{unique}",
                "postgres_schema": f"shown_{unique}",
                **mart,
            },
            "ingestion": {"validation": {"product_prefix": "Halal", "max_reject_share": 1.0}},
            "security": {"algorithm": "hmac-sha256"},
        }

    def apart(self, unique: str) -> dict[str, Any]:
        """Return the same with an export of its own: marts of another place are not mixed in one."""
        return self.config(unique, export=f"{self.lake}/exported/{unique}")

    def outside(self, config: Mapping[str, Any] | None = None) -> Config:
        """Return the same configuration as this machine takes it."""
        document = copy.deepcopy(dict(config or self.values["config"]))
        document["data_warehouse"] |= self.servers.outside
        return Config.model_validate(document)

    def upgrade(self, **changes: Mapping[str, Any]) -> None:
        """Install the chart, or lay other values over those of the release."""
        merged = copy.deepcopy(self.values)
        for key, value in changes.items():
            merged[key] = {**merged.get(key, {}), **value}
        self.cluster.helm("upgrade", "--install", "sales-mart", str(CHART), "--wait", values=merged)


def _image(name: str) -> dict[str, str]:
    repository, _, tag = name.rpartition(":")
    return {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}


@pytest.fixture(scope="session")
def around() -> Generator[Servers]:
    """Yield the servers."""
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    with open_folder() as folder, servers(folder) as found:
        yield found


@pytest.fixture(scope="session")
def release(around: Servers) -> Generator[Release]:
    """Install the chart in a namespace of its own; remove both in the end."""
    os.environ["PII_HASH_KEY"] = KEY
    cluster = Cluster(f"sales-mart-e2e-{uuid.uuid4().hex[:6]}")
    cluster.create()
    try:
        cluster.secret("postgres-credentials", user=around.user, password=around.password)
        cluster.secret("pii-hash-key", key=KEY)
        if around.credentials:
            text = Path(around.credentials).read_text(encoding="utf-8")
            cluster.secret("bigquery-credentials", credentials__json=text)
        made = Release(cluster, around)
        made.upgrade()
        yield made
    finally:
        if not os.environ.get("E2E_KEEP"):
            cluster.delete()


@pytest.fixture
def cluster(release: Release) -> Cluster:
    """Return the release's cluster."""
    return release.cluster


@pytest.fixture(scope="session", autouse=True)
def report() -> Generator[dict[str, str]]:
    """Collect what was done and how long it took; E2E_REPORT names a file to write it to."""
    rows: dict[str, str] = {}
    yield rows
    path = os.environ.get(REPORT)
    if path:
        Path(path).write_text(json.dumps(rows, indent=2), encoding="utf-8")


@pytest.fixture(autouse=True)
def timed(request: pytest.FixtureRequest, report: dict[str, str]) -> Generator[None]:
    """Note how long each test took."""
    begun = time.monotonic()
    yield
    what = (request.node.function.__doc__ or request.node.name).splitlines()[0]
    report[what] = f"{time.monotonic() - begun:.0f} s"
