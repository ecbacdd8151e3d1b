"""Say what is wrong in a configuration: which key, what was found, what is allowed and meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sales_mart.config import Config
from sales_mart.config.keys import (
    fields_of,
    key_of,
    keys,
    named_section_of,
    names_of,
    nearest,
    nearest_key,
    section_of,
)
from sales_mart.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import ValidationError

    from sales_mart.config.keys import Section
    from sales_mart.config.yaml import Given

__all__ = ["EXPLAINED_LATER", "explain", "unknown", "wrong"]

EXPLAINED_LATER = "explained later"
"""Context of a validation whose caller knows the places of the values, and explains it himself."""
_MOST_PROBLEMS = 10
_NAME = re.compile(r"[\w.-]{0,30}")
_REMEDY = "Correct it there; `sales-mart config schema` lists every key and its values."


def wrong(problems: Sequence[str]) -> ConfigurationError:
    """Return the error about some problems."""
    more = len(problems) - _MOST_PROBLEMS
    shown = [*problems[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
    return ConfigurationError(
        "\n".join(shown), remedy=_REMEDY, details={"problems": list(problems)}
    )


def unknown(path: tuple[str, ...], section: Section, origin: str) -> str:
    """Say which key is probably meant by one that there is not."""
    meant = nearest_key(path, section)
    hint = f"did you mean {meant}?" if meant else "there is none like it."
    place = ".".join(path[:-1]) or "the file"
    # `{password:secret}`, without a space, is a key for YAML.
    shown = ".".join(path) if _NAME.fullmatch(path[-1]) else f"a name in {place}"
    return (
        f"{origin}: {shown} is not a key; {hint} "
        f"The keys of {place} are: {', '.join(names_of(section, path[:-1]))}"
    )


def _section(path: tuple[str, ...]) -> Section:
    """Return the section at a path."""
    section: Section = Config
    for name in path:
        field = fields_of(section).get(name)
        inner = (section_of(field) or named_section_of(field)) if field else None
        section = inner or section  # the name of a user's own stays in its section
    return section


def explain(
    error: ValidationError, values: Mapping[tuple[str, ...], Given], default: str = "default"
) -> Iterator[str]:
    """Say each problem that Pydantic found in one line.

    Args:
        error: What Pydantic found.
        values: Where the values came from.
        default: Where others came from.
    """
    for problem in error.errors(include_url=False):
        location = problem["loc"]
        # A name that cannot be one may be a secret in the wrong place.
        shown = location[:-2] if location[-1:] == ("[key]",) else location
        named = path = tuple(str(part) for part in shown)
        if problem["type"] == "extra_forbidden":
            yield unknown(path, _section(path[:-1]), default)
            continue
        path = key_of(path)
        context = problem.get("ctx", {})
        allowed = str(context["error"]) if "error" in context else _allowed(problem["type"])
        allowed = allowed or problem["msg"].replace("Input should be", "must be")
        if not path and not named:  # about several keys, and it begins with one of them
            first = tuple(allowed.partition(" ")[0].strip(":").split("."))
            given = next((each for at, each in values.items() if at == first), None)
            yield f"{given.origin}: {allowed}" if given else allowed
            continue
        if not path:
            yield f"{default}: {'.'.join(named)}: {allowed}"
            continue
        key = keys()[path]
        if named_section_of(key.field) is not None:
            path = named[: len(path) + 2]
        given = next((each for at, each in values.items() if at[: len(path)] == path), None)
        origin = given.origin if given else default
        expected = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
        meant = nearest(str(problem["input"]), expected.split(", ")) if expected else None
        hint = f"; did you mean {meant}?" if meant else ""
        silent = key.secret or "error" in context
        found = "" if silent else _found(problem["input"], near=meant is not None)
        dotted = ".".join(path)
        yield f"{origin}: {dotted}: {found}{allowed}{hint}"


def _allowed(kind: str) -> str:
    """Say in plain words what Pydantic's kind of problem asks for; empty to use its own words."""
    if kind == "string_pattern_mismatch":
        return "must be a name of up to 57 letters, digits and underscores, no digit first"
    first = kind.partition("_")[0]
    words = {"int": "a whole number", "decimal": "a number", "float": "a number"}
    words |= {"bool": "true or false", "string": "text", "tuple": "a list"}
    return f"must be {words[first]}" if first in words else ""


def _found(value: object, *, near: bool) -> str:
    """Say what was found, where that is no secret in the wrong place: a text only when it is near.

    What is near is a misspelt word of those that are allowed.
    """
    if value is None:
        return "found nothing; "
    if isinstance(value, dict):
        return "found a section; "
    if isinstance(value, str):
        return f"found {value!r}; " if near else ""
    if not isinstance(value, int | float):
        return ""
    text = str(value)
    return f"found {text if len(text) <= 60 else text[:57] + '...'}; "  # noqa: PLR2004 - a line
