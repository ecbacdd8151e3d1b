"""How the workflow scales on a cluster: `make bench-cluster` prints the table of the docs.

Three million rows in six objects, validated in one, two and three pods of half a processor each.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.test_e2e import HALAL, STEPS
from sales_mart.lake.storage import open_storage
from sales_mart.synthetic.generate import generate

if TYPE_CHECKING:
    from collections.abc import Generator

    from e2e.cluster import Cluster
    from e2e.conftest import Release

ROWS = int(os.environ.get("E2E_ROWS", "3000000"))
OBJECTS = 6
CGROUPS = Path("/sys/fs/cgroup/memory/kubepods")
MIB = 1 << 20


def test_scale_out(release: Release, tmp_path: Path) -> None:
    """Seconds of the validate stage and of the workflow, and the peak memory of each step"""
    storage = open_storage(f"{release.lake}/large")
    for seed in range(OBJECTS):
        path = tmp_path / "part.csv"
        with path.open("wb") as file:
            file.writelines(generate(ROWS // OBJECTS, seed=seed, valid_share=0.6, config=HALAL))
        storage.put(f"{seed}.csv", path)
    lines = ["| pods | validate, s | ratio | one pod's work, s | workflow, s |", "|" + "---:|" * 5]
    peaks: dict[str, int] = {}
    first = 0.0
    for shards in (1, 2, 3):
        with _watched(release.cluster, peaks):
            name = release.cluster.submit(
                business_date=str(date(2023, 10, 5)),
                source=f"{release.lake}/large/*.csv",
                shards=str(shards),
            )
            ended = release.cluster.succeeded(name, 3000)
        assert len(ended.pods("validate")) == shards
        seconds = ended.seconds("validate")
        first = first or seconds
        longest = max(_span(each) for each in ended.pods("validate"))
        lines.append(
            f"| {shards} | {seconds:.0f} | {seconds / first:.2f} | {longest:.0f} "
            f"| {ended.seconds():.0f} |"
        )
    lines += ["", "| step | peak MiB of 1,024 |", "|---|---:|"]
    lines += [f"| `{step}` | {peaks[step] // MIB} |" for step in STEPS if step in peaks]
    sys.stderr.write("\n".join(["", *lines, ""]))


def _span(pod: dict[str, str]) -> float:
    from datetime import datetime

    ends = [datetime.fromisoformat(pod[key]).timestamp() for key in ("startedAt", "finishedAt")]
    return ends[1] - ends[0]


@contextmanager
def _watched(cluster: Cluster, peaks: dict[str, int]) -> Generator[None]:
    """Note the peak memory of each step's main container, where the node is this machine."""
    done = threading.Event()

    def watch() -> None:
        steps: dict[str, str] = {}
        while not done.wait(0.5):
            for pod in cluster.get("pods", "-l", "workflows.argoproj.io/workflow")["items"]:
                node = pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"]
                step = node.rpartition(".")[2].partition("(")[0]
                for status in pod["status"].get("containerStatuses", []):
                    if status["name"] == "main" and status.get("containerID"):
                        steps[status["containerID"].rpartition("/")[2]] = step
            for folder in CGROUPS.glob("*/pod*/*"):
                step = steps.get(folder.name)
                if step is None:
                    continue
                try:
                    text = (folder / "memory.stat").read_text()
                except OSError:
                    continue
                values = dict(line.split() for line in text.splitlines())
                peaks[step] = max(peaks.get(step, 0), int(values["total_rss"]))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begun = time.monotonic()
    try:
        yield
    finally:
        done.set()
        watcher.join(time.monotonic() - begun)
