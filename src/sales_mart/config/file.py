"""Load the configuration: command line over environment over file over default, with origins."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError, create_model
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from sales_mart.config import Config
from sales_mart.config.explain import EXPLAINED_LATER, explain, unknown, wrong
from sales_mart.config.keys import (
    IGNORED_KEYS,
    Key,
    fields_of,
    key_of,
    keys,
    named_section_of,
    names_of,
    section_of,
    shorthand_of,
)
from sales_mart.config.renamed import rename
from sales_mart.config.yaml import Given, read_yaml
from sales_mart.errors import ConfigurationError
from sales_mart.rows.tokens import warn_of_plain_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.config.keys import Section
    from sales_mart.config.yaml import Tree

__all__ = [
    "DEFAULT_FILE",
    "PREFIX",
    "find_file",
    "load_config",
    "load_with_origins",
]

DEFAULT_FILE = "pipeline_config.yaml"
PREFIX = "SALES_MART_"


def load_config(
    path: Path | str | None = None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Load the configuration, and log a warning where it is weaker than it should be.

    Args:
        path: The YAML file. None takes the one that `SALES_MART_CONFIG` names, else
            `pipeline_config.yaml` in the present folder if it is there, else only defaults.
        overrides: Keys (dotted, or nested as in the file) and their values, which win over
            everything else.
        environ: Environment variables; None takes those of the process.

    Returns:
        The validated configuration.

    Raises:
        ConfigurationError: A file, key or value is wrong; the message names it and its place.
    """
    config, _ = load_with_origins(path, overrides, environ)
    warn_of_plain_tokens(config)
    return config


def load_with_origins(
    path: Path | str | None = None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, dict[str, str]]:
    """Load the configuration and tell where each value came from.

    Returns:
        The configuration, and for each dotted key its origin: `default`, `<file>:<line>`, the
        name of an environment variable, or `command line`. Of `IGNORED_KEYS` those that are given.

    Raises:
        ConfigurationError: A file, key or value is wrong; the message names it and its place.
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    values: dict[tuple[str, ...], Given] = {}
    problems: list[str] = []
    trees = [read_yaml(file)] if file else []
    trees += _read_environment(environ)
    trees += [_override(key, value) for key, value in (overrides or {}).items()]
    for tree in trees:
        rename(tree)
        values.update(_flatten(tree, Config, (), problems))
    try:
        config = Config.model_validate(_nested(values), context=EXPLAINED_LATER)
    except ValidationError as error:
        problems += explain(error, values)
    else:
        if not problems:
            given = {".".join(at): value.origin for at, value in values.items()}
            for at, value in values.items():  # a key with names of the user's own in it
                given.setdefault(".".join(key_of(at)), value.origin)
            return config, {key.dotted: "default" for key in keys().values()} | given
    raise wrong(problems)


def find_file(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    """Find the configuration file; None when only defaults and the environment count.

    Raises:
        ConfigurationError: The file that was named does not exist.
    """
    named = path or environ.get("SALES_MART_CONFIG")
    if named is None or str(named) == "":
        default = Path(DEFAULT_FILE)
        return default if default.is_file() else None
    if not _is_file(Path(named)):
        source = "--config" if path else "SALES_MART_CONFIG"
        msg = f"configuration file {str(named)!r} does not exist (from {source})"
        raise ConfigurationError(
            msg, remedy="Name an existing file, or write one with `sales-mart init`."
        )
    return Path(named)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that no file system takes
        return False


@cache
def _settings() -> type[BaseSettings]:
    """Make a settings class with the sections of `Config`, for pydantic-settings to read."""
    sections: dict[str, Any] = {
        name: (field.annotation, field) for name, field in Config.model_fields.items()
    }
    return create_model("Environment", __base__=BaseSettings, **sections)


def _read_environment(environ: Mapping[str, str]) -> list[Tree]:
    names = sorted(name for name in environ if name.upper().startswith(PREFIX))
    # A whole section as JSON comes first, so that one key of it can be set beside it.
    names.sort(key=lambda name: name.count("__"))
    return [tree for name in names if (tree := _read_variable(name, environ[name]))]


def _read_variable(name: str, text: str) -> Tree:
    source = EnvSettingsSource(_settings(), env_prefix=PREFIX, env_nested_delimiter="__")
    source.env_vars = {name.lower(): text}
    parts = name[len(PREFIX) :].lower().split("__")
    try:
        found = source()
    except (SettingsError, ValueError, RecursionError):
        if (key := keys().get(tuple(parts))) and key.takes_one:
            return _dotted(key.dotted, Given(text, name))
        msg = f"{name}: a list or a section is written as JSON in the environment"
        raise ConfigurationError(msg, remedy=f"""For example {name}='["a", "b"]'.""") from None
    if found:
        return cast("Tree", _place_all(found, Config, name))
    # Kubernetes sets SALES_MART_PORT and its like for a Service of that name: not ours to refuse.
    return _dotted(".".join(parts), Given(text, name)) if len(parts) > 1 else {}


def _place_all(value: object, section: Section | None, origin: str) -> Given | Tree:
    """Return every value its origin, and every key the spelling that the file has."""
    if not isinstance(value, dict):
        return Given(value, origin)
    fields = fields_of(section) if section else {}
    spelled = {_plain(name): name for name in fields}
    tree: Tree = {}
    for key, inner in cast("dict[str, object]", value).items():
        name = spelled.get(_plain(key), key)
        tree[name] = _place_all(inner, section_of(fields[name]) if name in fields else None, origin)
    return tree


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _override(key: str, value: object) -> Tree:
    origin = "command line"
    if isinstance(value, dict):
        return cast("Tree", _place_all({key: value}, Config, origin))
    return _dotted(key, Given(value, origin))


def _dotted(key: str, given: Given) -> Tree:
    first, _, rest = key.partition(".")
    return {first: _dotted(rest, given) if rest else given}


def _flatten(
    tree: Tree, section: Section, path: tuple[str, ...], problems: list[str]
) -> Iterator[tuple[tuple[str, ...], Given]]:
    fields = fields_of(section)
    for name, given in tree.items():
        here = (*path, name)
        dotted = ".".join(here)
        field = fields.get(name)
        inner = section_of(field) if field else None
        named = named_section_of(field) if field else None
        if dotted in IGNORED_KEYS:
            yield here, Given(None, _origin(given))
        elif field is None:
            problems.append(unknown(here, section, _origin(given)))
        elif named is not None:
            yield from _flatten_named(given, named, here, problems)
        elif isinstance(given, Given):
            if inner is None:
                value = _readable(Key(here, field), given, problems)
                if value is not None:
                    yield here, value
            elif given.value is not None:  # `section:` with nothing below it leaves the defaults
                allowed = ", ".join(names_of(inner, here))
                problems.append(f"{given.origin}: {dotted} must be a section with keys: {allowed}")
        elif inner is not None:
            yield from _flatten(given, inner, here, problems)
        else:
            problems.append(f"{_origin(given)}: {dotted} must be a single value, not a section")


def _flatten_named(
    tree: Tree | Given, section: Section, path: tuple[str, ...], problems: list[str]
) -> Iterator[tuple[tuple[str, ...], Given]]:
    """Flatten a key whose value is any number of sections, each under a name of the user's own."""
    if isinstance(tree, Given):
        if tree.value is not None:
            problems.append(f"{tree.origin}: {'.'.join(path)} must be a section of names")
        return
    for name, given in tree.items():
        here = (*path, name)
        shorthand = shorthand_of(section)
        if isinstance(given, Given) and given.value is not None and shorthand:
            yield from _flatten({shorthand: given}, section, here, problems)
        elif isinstance(given, Given) and given.value is not None:
            allowed = ", ".join(names_of(section, here))
            dotted = ".".join(here)
            problems.append(f"{given.origin}: {dotted} must be a section with keys: {allowed}")
        elif isinstance(given, Given) or not given:  # all of its keys have their defaults
            yield here, Given({}, _origin(given))
        else:
            yield from _flatten(given, section, here, problems)


def _readable(key: Key, given: Given, problems: list[str]) -> Given | None:
    """Undo what YAML guessed about a scalar: text may look like a number, and `yes` like 1."""
    value = given.value
    if isinstance(value, bool) and not key.takes(bool):
        written = "" if key.secret else f" {given.text or value!s}"
        problems.append(
            f"{given.origin}: {key.dotted}: found{written}, which YAML reads as true or false; "
            "put it in quotes if it is meant as text"
        )
        return None
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if numeric and given.text is not None and (key.takes(str) or key.secret):
        return given._replace(value=given.text)
    return given


def _origin(given: Given | Tree) -> str:
    while isinstance(given, dict):
        if not given:
            return "configuration"
        given = next(iter(given.values()))
    return given.origin


def _nested(values: Mapping[tuple[str, ...], Given]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, given in values.items():
        if ".".join(path) in IGNORED_KEYS:
            continue
        place = nested
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = given.value
    return nested
