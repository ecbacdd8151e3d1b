"""The keys of the configuration, one by one: what the loader, `init` and the reference read."""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretStr

from sales_mart.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.fields import FieldInfo

__all__ = [
    "IGNORED_KEYS",
    "Key",
    "Section",
    "fields_of",
    "hint",
    "key_of",
    "keys",
    "named_section_of",
    "names_of",
    "nearest",
    "nearest_key",
    "schema",
    "section_of",
    "shorthand_of",
]

Section = type[BaseModel]

IGNORED_KEYS = {
    "pipeline.name": "Name of the pipeline in another system.",
    "pipeline.version": "Version of the file in another system.",
    "data_mart.table": "Name of another system's mart. Every mart is always built.",
    "ingestion.fastapi_endpoint": "Endpoint of another system's upload service.",
    "ingestion.batch_size": "Rows per batch of another system. Rows stream in blocks of bytes.",
    "transformation.dbt_project": "Name of another system's dbt project. Ours is in the package.",
    "transformation.models": "Models of another system's dbt project. All of ours are built.",
    "kubernetes.helm_chart": "Name of another system's chart.",
}
"""Keys of files that other systems read too, and why they have no effect: any value is accepted."""


class Key(NamedTuple):
    """One key of the configuration.

    Attributes:
        path: Names from the top of the file down, as they are written in it.
        field: Pydantic's description of it.
    """

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """The key as it is written in messages: `data_warehouse.postgres.host`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "SALES_MART_" + "__".join(self.path).upper()

    @property
    def secret(self) -> bool:
        """Whether its value is never shown."""
        extra = self.field.json_schema_extra
        marked = isinstance(extra, dict) and bool(extra.get("writeOnly"))
        return marked or SecretStr in _types(self.field.annotation)

    @property
    def local(self) -> bool:
        """Whether its value is meant for this computer only, and pods have it from elsewhere."""
        extra = self.field.json_schema_extra
        return self.secret or (isinstance(extra, dict) and bool(extra.get("local")))

    @property
    def effect(self) -> str:
        """`run` when runs read it, `chart` when only `config values` does."""
        extra = self.field.json_schema_extra
        return str(extra.get("effect", "run")) if isinstance(extra, dict) else "run"

    @property
    def description(self) -> str:
        """What it means, on one line."""
        return " ".join((self.field.description or "").split())

    @property
    def takes_one(self) -> bool:
        """Whether it is a list for which its only value may stand."""
        return get_origin(self.field.annotation) is tuple and any(
            isinstance(each, BeforeValidator) for each in self.field.metadata
        )

    def takes(self, kind: type) -> bool:
        """Return whether the key may have a value of this built-in type."""
        return kind in _types(self.field.annotation)

    def value(self, config: Config) -> Any:
        """Read the key's value from a configuration."""
        value: Any = config
        for name in self.path:
            value = getattr(value, _attribute(type(value), name))
        return value


def fields_of(section: Section) -> dict[str, FieldInfo]:
    """List the fields of a section under the names that a file uses."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def names_of(section: Section, path: tuple[str, ...]) -> list[str]:
    """List the names that a file may use in the section at `path`, those without effect too."""
    ignored = (dotted.rpartition(".") for dotted in IGNORED_KEYS)
    return [*fields_of(section), *(name for place, _, name in ignored if place == ".".join(path))]


def section_of(field: FieldInfo) -> Section | None:
    """Return the section that a field holds; None for a field with a value."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def named_section_of(field: FieldInfo) -> Section | None:
    """Return the section of which a field holds any number, by name; None for any other field."""
    kind = get_args(field.annotation)[1] if get_origin(field.annotation) is dict else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def shorthand_of(section: Section) -> str | None:
    """Return the key of a section that a plain value in its place means."""
    return getattr(section, "shorthand", None)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a file."""
    made = Config.model_json_schema()
    for dotted, why in IGNORED_KEYS.items():
        place, _, name = dotted.partition(".")
        section = made["$defs"][made["properties"][place]["$ref"].rpartition("/")[2]]
        described = {"description": f"{why} No effect.", "effect": False}
        section.setdefault("properties", {})[name] = described
    for key in keys().values():
        named = named_section_of(key.field)
        if named is not None and (shorthand := shorthand_of(named)):
            section = made["$defs"][made["properties"][key.path[0]]["$ref"].rpartition("/")[2]]
            values = section["properties"][key.path[-1]]
            # By a pattern of their names, or of any name.
            place = values.get("patternProperties", values)
            for name in {*values.get("patternProperties", ["additionalProperties"])}:
                plain = {"$ref": f"{place[name]['$ref']}/properties/{shorthand}"}
                place[name] = {"anyOf": [place[name], plain]}
    return made


@cache
def keys() -> dict[tuple[str, ...], Key]:
    """List all keys that hold a value, in the order of the model."""
    return {key.path: key for key in _keys_below(Config, ())}


def key_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the key in which a path ends, or which it leads on from; empty when there is none."""
    while path and path not in keys():
        path = path[:-1]
    return path


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate that `word` probably means."""
    known = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return known[found[0]] if found else None


def hint(word: str, candidates: Iterable[str]) -> str:
    """Return the end of a message that names what `word` probably means; empty for nothing."""
    meant = nearest(word, candidates)
    return f"; did you mean {meant}?" if meant else ""


def nearest_key(path: tuple[str, ...], section: Section) -> str | None:
    """Find the key that an unknown one probably means: here first, then anywhere by its name."""
    here = nearest(path[-1], names_of(section, path[:-1]))
    if here is not None:
        return ".".join((*path[:-1], here))
    dotted = [*(key.dotted for key in keys().values()), *IGNORED_KEYS]
    named = {each.rpartition(".")[2]: each for each in dotted}
    anywhere = nearest(path[-1], named)
    return named[anywhere] if anywhere else None


def _keys_below(section: Section, path: tuple[str, ...]) -> Iterator[Key]:
    for name, field in fields_of(section).items():
        inner = section_of(field)
        if inner is None:
            yield Key((*path, name), field)
        else:
            yield from _keys_below(inner, (*path, name))


def _attribute(section: Section, name: str) -> str:
    for attribute, field in section.model_fields.items():
        if name in (attribute, field.alias):
            return attribute
    raise KeyError(name)


def _types(annotation: Any) -> set[Any]:
    arguments = getattr(annotation, "__args__", ())
    return {annotation}.union(*(_types(argument) for argument in arguments))
