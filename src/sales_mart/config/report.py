"""Show the configuration: values with origins, values for the chart, and a file to begin with."""

from __future__ import annotations

import re
import textwrap
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import TypeAdapter

from sales_mart.config import Config, DataMart, Security
from sales_mart.config.keys import IGNORED_KEYS, fields_of, keys, section_of
from sales_mart.config.model import Ingestion, Validation
from sales_mart.rows.proposal import Proposal, Setting
from sales_mart.warehouses.base import names, warehouse_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.config.keys import Section

__all__ = ["chart_values", "effective", "logins", "recommended", "template"]

REDACTED = "**********"
_REMOVED_SHARE = 0.5
"""What is recommended; without the key a load may take any rows away, so older files load."""
_REQUESTS = {"cpu": "200m", "memory": "512Mi"}
"""What the chart requests by default."""
_REJECT_SHARE = 0.2
"""What is recommended; without the key every share is accepted, so that older files load."""
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
_UNITS = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGT", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGT", start=1)},
}


def recommended() -> Config:
    """Return the settings that `init` writes: keyed tokens, limits of loss, a schema of ours.

    Where others may create things in `public`, they could do so under our tables' names.
    """
    limits = Validation(max_reject_share=_REJECT_SHARE, max_removed_share=_REMOVED_SHARE)
    return Config(
        data_mart=DataMart(postgres_schema="sales"),
        security=Security(algorithm="hmac-sha256"),
        ingestion=Ingestion(validation=limits),
    )


def effective(config: Config, origins: Mapping[str, str]) -> list[dict[str, Any]]:
    """List every key with its value (a secret's never), its origin and whether it has effect.

    Returns:
        Mappings with `key`, `value` (as JSON has it), `origin`, `variable` and `effect`. Those of
        `IGNORED_KEYS` that are given come last, with the effect `none` and no value.
    """
    known = [
        {
            "key": key.dotted,
            "value": _shown(key.value(config), secret=key.secret),
            "origin": origins[key.dotted],
            "variable": key.variable,
            "effect": key.effect,
        }
        for key in keys().values()
    ]
    ignored = [
        {"key": key, "value": None, "origin": origins[key], "variable": None, "effect": "none"}
        for key in IGNORED_KEYS
        if key in origins
    ]
    return known + ignored


def logins(config: Config) -> dict[str, tuple[str, dict[str, str | None]]]:
    """Return as whom each warehouse is reached: name -> title, and user and origin."""
    warehouses = [warehouse_class(name)(config) for name in names()]
    return {
        each.name: (each.title, {"user": login[0], "origin": login[1]})
        for each in warehouses
        if (login := each.login()) is not None
    }


def chart_values(config: Config) -> dict[str, Any]:
    """Return what the Helm chart's values take from the file.

    Values own name, schedule, time zone, namespace and resources; the rest of the file, without its
    credentials, becomes the configuration that the pods read.
    """
    name = config.orchestration.airflow_dag or "sales-mart"
    limits = config.kubernetes.resources
    dumped = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for section in ("kubernetes", "orchestration"):
        dumped.pop(section, None)
    # The chart has values of its own for these, which a file that is silent must not get.
    dumped.setdefault("security", {})["algorithm"] = config.security.algorithm
    rules = dumped.setdefault("ingestion", {}).setdefault("validation", {})
    rules["max_reject_share"] = config.rules.max_reject_share
    rules["max_removed_share"] = config.rules.max_removed_share
    # Pods have secrets in their environment, or as files where the chart mounts them; a path of
    # this computer would be no way to them.
    for key in keys().values():
        if key.local:
            _drop(dumped, key.path)
    return {
        "fullnameOverride": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"),
        "namespace": config.kubernetes.namespace,
        "workflow": {
            "schedule": config.orchestration.schedule,
            "timezone": config.orchestration.timezone,
        },
        "resources": _resources(limits.cpu, limits.memory),
        **_secret_names(config),
        "config": dumped,
    }


def _drop(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        tree = tree.get(name, {})
    tree.pop(path[-1], None)


def _secret_names(config: Config) -> dict[str, dict[str, str]]:
    """Return the names of the secrets of the warehouses that are reached by one."""
    sections = {name: getattr(config.data_warehouse, name, None) for name in names()}
    return {
        name: {"secretName": section.secret_name}
        for name, section in sections.items()
        if section is not None and hasattr(section, "secret_name")
    }


def _resources(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    """Return limits, and lower the chart's requests where they would be above them."""
    limits = {"cpu": cpu, "memory": memory}
    lower = {
        name: limit for name, limit in limits.items() if _amount(limit) < _amount(_REQUESTS[name])
    }
    return {"limits": limits, **({"requests": lower} if lower else {})}


def _amount(text: str) -> Decimal:
    """Read a quantity of Kubernetes; one that is none is as large as can be."""
    found = _QUANTITY.fullmatch(text)
    return Decimal(found[1]) * _UNITS[found[2]] if found else Decimal("Infinity")


def template(proposal: Proposal | None = None, source: str | None = None) -> str:
    """Write a configuration with the recommended settings and a comment above every key.

    Args:
        proposal: What a file decides, and what it leaves open, in the place of defaults.
        source: The value of `data_lake.source`.
    """
    head = (
        "# Configuration of sales_mart. What is commented out has the default that it shows, or "
        "none.\n# Every key can be set from the environment too: "
        "SALES_MART_DATA_WAREHOUSE__POSTGRES__HOST.\n"
    )
    if proposal and proposal.open:
        count = len(proposal.open)
        asked = ", ".join(dict.fromkeys(each.key for each in proposal.open))
        many = "question is" if count == 1 else "questions are"
        says = f"{count} {many} left open; search for OPEN, and take one of the lines: {asked}."
        head += "".join(f"{line}\n" for line in _comment(says, ""))
    given = proposal or Proposal()
    if source is not None:
        why = "The file that this was written from; or a folder, or a glob."
        origin = Setting(key="data_lake.source", value=source, reason=why)
        given = given.model_copy(update={"settings": (origin, *given.settings)})
    return head + "".join(f"{line}\n" for line in _lines(Config, (), given))


def _lines(section: Section, path: tuple[str, ...], given: Proposal) -> Iterator[str]:
    indent = "  " * len(path)
    for name, field in fields_of(section).items():
        inner = section_of(field)
        if inner is not None:
            lines = list(_lines(inner, (*path, name), given))
            if lines:
                yield from ([""] if not path else [])
                yield from _comment(field.description or "", indent)
                # A section in which everything is commented out would be a key without a value.
                active = any(not line.lstrip().startswith("#") for line in lines if line)
                yield f"{indent}{name}:" if active else f"{indent}# {name}:"
                yield from lines
            continue
        key = keys()[*path, name]
        yield from _comment(key.description, indent)
        proposed = _proposed(key.dotted, given)
        yield from (f"{indent}{line}" for line in proposed)
        if proposed or key.dotted in given.keys:
            continue  # a choice of another key may set it: the default must not stand beside it
        value = key.value(recommended())
        # What is not set shows an example, where there is one.
        comment = "# " if value is None or value == {} else ""
        shown = next(iter(key.field.examples or ()), None) if comment else value
        yield f"{indent}{comment}{name}:{'' if shown is None else ' ' + _yaml(shown)}"


def _proposed(dotted: str, given: Proposal) -> list[str]:
    """Return what is proposed for a key, or for the names below it."""
    below = [
        line for each in given.keys if each.startswith(f"{dotted}.") for line in given.lines(each)
    ]
    if not below:
        return given.lines(dotted)
    name = dotted.rpartition(".")[2]
    is_set = any(not line.startswith("#") for line in below)
    return [f"{name}:" if is_set else f"# {name}:", *(f"  {line}" for line in below)]


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _yaml(value: object) -> str:
    plain = _shown(value, secret=False)
    if isinstance(plain, str):
        return "'" + plain.replace("'", "''") + "'"
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()


def _shown(value: Any, *, secret: bool) -> Any:
    if secret:
        return None if value is None else REDACTED
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if isinstance(value, dict):
        return TypeAdapter(dict[str, Any]).dump_python(
            cast("dict[str, Any]", value), mode="json", by_alias=True, exclude_defaults=True
        )
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
