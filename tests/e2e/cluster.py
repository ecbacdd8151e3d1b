"""A namespace of a real cluster: what the tests ask of kubectl, helm and argo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CHART", "Cluster", "Workflow", "reason_to_skip", "wait_for"]

CHART = Path(__file__).parents[2] / "charts" / "sales-mart"
_TOOLS = ("kubectl", "helm", "argo")


def reason_to_skip() -> str | None:
    """Say why there is no cluster to test on; None where there is one."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG names no cluster"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"{', '.join(missing)} is not on the path" if missing else None


def wait_for(what: str, done: Callable[[], Any], seconds: float = 120, pause: float = 1.0) -> Any:
    """Wait until `done` gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:.0f} s there is still no {what}")
        time.sleep(pause)


@dataclass(frozen=True)
class Workflow:
    """A workflow as it stands in the cluster."""

    document: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name, which is the run's too."""
        return self.document["metadata"]["name"]

    @property
    def phase(self) -> str:
        """`Running`, `Succeeded`, `Failed`, …; empty before the controller has seen it."""
        return self.document.get("status", {}).get("phase", "")

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """Every step, attempt and group."""
        return list((self.document.get("status", {}).get("nodes") or {}).values())

    def pods(self, step: str | None = None) -> list[dict[str, Any]]:
        """The attempts, of one step or of all, in the order in which they began."""
        pods = [each for each in self.nodes if each["type"] == "Pod"]
        pods.sort(key=lambda each: each["startedAt"])
        return [each for each in pods if step in (None, each["templateName"])]

    def seconds(self, step: str | None = None) -> float:
        """How long it took, or the stage of one step did."""
        if step is None:
            status = self.document["status"]
            return _epoch(status["finishedAt"]) - _epoch(status["startedAt"])
        pods = self.pods(step)
        return max(_epoch(each["finishedAt"]) for each in pods) - min(
            _epoch(each["startedAt"]) for each in pods
        )

    def failures(self) -> str:
        """Say what failed, for a message."""
        return "\n".join(
            f"{each['displayName']}: {each['phase']}: {each.get('message', '')}"
            for each in self.nodes
            if each["phase"] not in ("Succeeded", "Skipped", "Omitted")
        )


def _epoch(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


class Cluster:
    """One namespace."""

    def __init__(self, namespace: str) -> None:
        """Name the namespace, which `create` makes."""
        self.namespace = namespace

    def run(self, *command: str, given: str | None = None, check: bool = True) -> str:
        """Run a program; gives what it printed."""
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, input=given, timeout=900
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command[:6])} …: {done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout + ("" if check else done.stderr)

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Run kubectl in the namespace."""
        return self.run("kubectl", "-n", self.namespace, *arguments, given=given, check=check)

    def get(self, *what: str) -> dict[str, Any]:
        """Read objects."""
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def create(self) -> None:
        """Make the namespace, in which restricted pod security is enforced."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": labels},
        }
        self.apply(document)

    def delete(self) -> None:
        """Remove the namespace with all in it."""
        self.run("kubectl", "delete", "namespace", self.namespace, "--wait=true", check=False)

    def apply(self, document: Mapping[str, Any], *options: str) -> None:
        """Apply an object."""
        self.kubectl("apply", *options, "-f", "-", given=json.dumps(document))

    def secret(self, name: str, **values: str) -> None:
        """Make a secret; the values go by standard input, not over the command line."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name},
                "stringData": {key.replace("__", "."): value for key, value in values.items()},
            }
        )

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """Run helm on the chart."""
        given = None if values is None else json.dumps(values)
        extra = () if values is None else ("--values", "-")
        return self.run("helm", *arguments, "--namespace", self.namespace, *extra, given=given)

    def submit(self, reference: str = "cronwf/sales-mart", **parameters: str) -> str:
        """Submit a workflow; gives its name."""
        options = [
            f"--parameter={name.rstrip('_').replace('_', '-')}={value}"
            for name, value in parameters.items()
        ]
        out = self.run(
            *("argo", "submit", "-n", self.namespace, "--from", reference, "-o", "name"), *options
        )
        return out.strip().splitlines()[-1].rpartition("/")[2]

    def workflow(self, name: str) -> Workflow:
        """Read a workflow."""
        return Workflow(self.get("workflow", name))

    def workflows(self) -> list[Workflow]:
        """Read all workflows."""
        return [Workflow(each) for each in self.get("workflows")["items"]]

    def finished(self, name: str, seconds: float = 900) -> Workflow:
        """Wait until a workflow has ended."""

        def ended() -> Workflow | None:
            found = self.workflow(name)
            return found if found.phase in ("Succeeded", "Failed", "Error") else None

        return wait_for(f"end of {name}", ended, seconds, pause=2)

    def succeeded(self, name: str, seconds: float = 900) -> Workflow:
        """Wait until a workflow has succeeded."""
        found = self.finished(name, seconds)
        assert found.phase == "Succeeded", f"{self.logs(name)}\n{found.failures()}"
        return found

    def logs(self, name: str) -> str:
        """Return the ends of the logs of a workflow's pods that are still there."""
        return self.kubectl(
            *("logs", "-l", f"workflows.argoproj.io/workflow={name}", "-c", "main"),
            *("--tail=20", "--prefix", "--ignore-errors"),
            check=False,
        )
