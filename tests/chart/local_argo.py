"""Runs a rendered workflow template as Argo would, with local processes in the place of pods."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import warm_dbt

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LocalArgo"]

_BRACES = re.compile(r"\{\{ *([^}]+?) *\}\}")


class LocalArgo:
    """One workflow: its parameters, its secrets, and a folder that stands for the pods' disks."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        folder: Path,
        files: Mapping[str, str],
        secrets: Mapping[str, Mapping[str, str]],
    ) -> None:
        """Take a template's spec, the text of its ConfigMap's files, and its secrets."""
        self._spec = spec
        self._templates = {each["name"]: each for each in spec["templates"]}
        self._folder = folder
        self._secrets = secrets
        self._config = folder / "config"
        self._config.mkdir(parents=True)
        for name, text in files.items():
            self._config.joinpath(name).write_text(text, encoding="utf-8")
        self._program = str(Path(sys.executable).with_name("sales-mart"))
        self.ran: list[tuple[str, ...]] = []

    def submit(self, name: str, **parameters: str) -> None:
        """Run the workflow to its end; a step that fails raises."""
        known = {each["name"]: each["value"] for each in self._spec["arguments"]["parameters"]}
        known |= {key.replace("_", "-"): value for key, value in parameters.items()}
        scope = {f"workflow.parameters.{key}": value for key, value in known.items()}
        self._run(self._templates[self._spec["entrypoint"]], {}, {**scope, "workflow.name": name})

    def _run(
        self, template: Mapping[str, Any], given: Mapping[str, str], scope: Mapping[str, str]
    ) -> dict[str, str]:
        inputs = {
            each["name"]: _filled(str(given.get(each["name"], each.get("value"))), scope)
            for each in template.get("inputs", {}).get("parameters", [])
        }
        inner = {**scope, **{f"inputs.parameters.{key}": text for key, text in inputs.items()}}
        if "container" in template:
            return self.container(template, inner)
        self._graph(template["dag"]["tasks"], inner)
        return {}

    def _graph(self, tasks: list[dict[str, Any]], scope: dict[str, str]) -> None:
        state: dict[str, str] = {}
        while len(state) < len(tasks):
            ready = [
                each
                for each in tasks
                if each["name"] not in state and _named(each.get("depends", "")) <= state.keys()
            ]
            assert ready, f"nothing can run after {state}"
            for task in ready:
                if not _holds(task.get("depends", ""), state):
                    state[task["name"]] = "Omitted"
                    continue
                when = _filled(task.get("when", ""), scope)
                if when and not _true(when):
                    # So it is in Argo: a group without a pod has not failed.
                    state[task["name"]] = "Succeeded" if "withParam" in task else "Skipped"
                    continue
                items = [""]
                if "withParam" in task:
                    items = json.loads(_filled(task["withParam"], scope))
                for item in items:
                    self._task(task, {**scope, "item": str(item)}, scope)
                state[task["name"]] = "Succeeded"

    def _task(
        self, task: Mapping[str, Any], inner: Mapping[str, str], scope: dict[str, str]
    ) -> None:
        given = {
            each["name"]: _filled(each["value"], inner)
            for each in task.get("arguments", {}).get("parameters", [])
        }
        outputs = self._run(self._templates[task["template"]], given, inner)
        scope |= {
            f"tasks.{task['name']}.outputs.parameters.{key}": text for key, text in outputs.items()
        }

    def container(self, template: Mapping[str, Any], scope: Mapping[str, str]) -> dict[str, str]:
        """Run a pod's command, and return what it passes on."""
        container = template["container"]
        tmp = self._folder / f"tmp-{len(self.ran)}"
        tmp.mkdir()
        places = {"/tmp": tmp, "/etc/sales-mart": self._config}  # noqa: S108 - the pod's
        arguments = [_moved(_filled(each, scope), places) for each in container["args"]]
        environment = {"HOME": str(tmp), "TMPDIR": str(tmp)}
        # The parsed dbt project is that of all tests: what parses it is the same everywhere.
        environment |= {name: os.environ[name] for name in ("PATH", "XDG_CACHE_HOME")} | warm_dbt()
        for each in container["env"]:
            value = each.get("value")
            if value is None:
                ref = each["valueFrom"]["secretKeyRef"]
                value = self._secrets.get(ref["name"], {}).get(ref["key"])
            if value is not None:
                environment[each["name"]] = _moved(_filled(value, scope), places)
        assert container["command"] == ["sales-mart"]
        done = subprocess.run(
            [self._program, *arguments],
            check=False,
            env=environment,
            cwd=tmp,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{template['name']}: {done.stderr[-3000:]}"
        self.ran.append((template["name"], *arguments))
        return {
            each["name"]: Path(_moved(each["valueFrom"]["path"], places)).read_text("utf-8")
            for each in template.get("outputs", {}).get("parameters", [])
        }


def _filled(text: str, scope: Mapping[str, str]) -> str:
    return _BRACES.sub(lambda match: scope[match[1]], text)


def _moved(text: str, places: Mapping[str, Path]) -> str:
    for place, folder in places.items():
        if text == place or text.startswith(f"{place}/"):
            return f"{folder}{text[len(place) :]}"
    return text


_STATE = re.compile(r"([a-z-]+)\.(Succeeded|Skipped)")


def _named(depends: str) -> set[str]:
    return {match[1] for match in _STATE.finditer(depends)}


def _holds(depends: str, state: Mapping[str, str]) -> bool:
    """Decide a `depends` by what has ended so far."""
    expression = _STATE.sub(
        lambda match: str(state.get(match[1]) == match[2]),
        depends.replace("&&", "and").replace("||", "or"),
    )
    return not expression or bool(eval(expression))  # noqa: S307 - our own graph


def _true(when: str) -> bool:
    """Decide a `when`: its operators mean in Python what they mean to Argo, but for these three."""
    for theirs, ours in (("&&", "and"), ("!(", "not ("), ("=~", "@")):
        when = when.replace(theirs, ours)
    match = re.fullmatch(r"'(.*)' @ '(.*)'", when, re.DOTALL)
    return bool(re.search(match[2], match[1]) if match else eval(when))  # noqa: S307 - our own graph
