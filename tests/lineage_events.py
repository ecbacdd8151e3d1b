"""OpenLineage events, read strictly into the classes that are generated from their schemas."""

from __future__ import annotations

import enum
import importlib
import pkgutil
import types
import typing
from functools import cache
from typing import Any

import attr
from openlineage.client import generated
from openlineage.client.generated.base import BaseFacet, RunEvent

__all__ = ["read_event"]


def read_event(document: dict[str, Any]) -> RunEvent:
    """Read an event: every key known, every value of its type, every facet under its own schema.

    Raises:
        ValueError: It is not what the schemas say.
    """
    _see(document.pop("schemaURL") == _schema_of(RunEvent), "schemaURL")
    return _read(RunEvent, document, "event")


@cache
def _facets() -> dict[str, tuple[str, type[Any]]]:
    """Return the facets by the address of their schema, each with its key."""
    found: dict[str, tuple[str, type[Any]]] = {}
    for each in pkgutil.iter_modules(generated.__path__):
        module = importlib.import_module(f"{generated.__name__}.{each.name}")
        key = each.name.rpartition("_")[0]
        key = key.removesuffix("_input").removesuffix("_output").removeprefix("dataset_")
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, BaseFacet) and each.name != "base":
                found[_schema_of(kind)] = (key.replace("_", ""), kind)
    return found


def _schema_of(kind: Any) -> str:
    return kind._get_schema()  # noqa: SLF001 - there is no other way to it


def _see(holds: object, where: str) -> None:
    if not holds:
        msg = f"{where} is wrong"
        raise ValueError(msg)


def _read(kind: Any, value: Any, where: str) -> Any:
    """Read a value as a type says."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        wanted = [part for part in parts if part is not type(None)]
        _see(value is not None and len(wanted) == 1, where)
        return _read(wanted[0], value, where)
    if origin is list:
        _see(isinstance(value, list), where)
        return [_read(parts[0], each, f"{where}[{at}]") for at, each in enumerate(value)]
    if origin is dict:
        _see(isinstance(value, dict), where)
        return {key: _entry(parts[1], key, each, f"{where}.{key}") for key, each in value.items()}
    if attr.has(kind):
        return _object(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    _see(kind is Any or type(value) is kind, where)
    return value


def _entry(kind: Any, key: str, value: Any, where: str) -> Any:
    """Read a value of a mapping; of facets the one that its schema names, under its key."""
    if not (isinstance(kind, type) and issubclass(kind, BaseFacet)):
        return _read(kind, value, where)
    name, facet = _facets().get(value["_schemaURL"], ("", None))
    _see(facet is not None and issubclass(facet, kind), f"{where}._schemaURL")
    _see(key.replace("_", "").lower() == name, where)
    return _object(facet, {key: each for key, each in value.items() if key != "_schemaURL"}, where)


def _object(kind: Any, value: Any, where: str) -> Any:
    _see(isinstance(value, dict), where)
    hints = typing.get_type_hints(kind)
    fields = {each.name: each for each in attr.fields(kind)}
    for key in value.keys() - fields.keys():
        _see(None, f"{where}.{key}")
    for name, field in fields.items():
        missing = field.init and field.default is attr.NOTHING and name not in value
        _see(not missing, f"{where}.{name}")
    return kind(
        **{
            fields[key].alias or key: _read(hints[key], each, f"{where}.{key}")
            for key, each in value.items()
        }
    )
