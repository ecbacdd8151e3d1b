# ruff: noqa: INP001 - a script, no package
"""Write the tables of the reference pages, from the code that they are about.

    python scripts/reference.py

A page holds its prose itself. What stands between `<!-- generated: NAME -->` and
`<!-- /generated -->` is replaced by the section NAME; a test fails when a page is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sales_mart import error_codes, errors
from sales_mart.cli import app
from sales_mart.config import Config
from sales_mart.config.keys import IGNORED_KEYS, Key, fields_of, keys, section_of
from sales_mart.lake import parquet, records
from sales_mart.names import QUALITY_HISTORY
from sales_mart.report import figures
from sales_mart.rows.reasons import REASONS
from sales_mart.rows.rules import TRUSTED, rules
from sales_mart.schema import arrow_schema, schema_of
from sales_mart.warehouses.own_tables import QUALITY_TABLES
from sales_mart.warehouses.postgres.dialect import PostgresDialect

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_CODE = re.compile(r"(`[^`]*`|<br>)|<")
_CLASS = 2  # characters of a class of SQLSTATEs
_WRONG = 400  # the status that a server gives a request for no better reason
_SERVER_ERRORS = (500, 502, 503, 504)
_TOO_DEAR = "bytesBilledLimitExceeded"
_CHOICE = re.compile(r"\{\{ *'(\w+)' if target\.type == 'bigquery' else '(\w+)' *\}\}")
_SHARED = ("--config", "--output", "--log-level", "--quiet")
_OF_A_RUN = ("--lake", "--run-id")
_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    Decimal: "decimal",
    date: "date",
    datetime: "date or time",
    SecretStr: "secret text",
}


def refreshed(page: Path) -> str:
    """Return a page with its generated sections made anew."""
    return _BLOCK.sub(
        lambda match: f"{match[1]}\n{SECTIONS[match[2]]().strip()}\n\n{match[3]}",
        page.read_text(encoding="utf-8"),
    )


def main() -> None:
    """Write every page that has changed."""
    for page in sorted(PAGES.glob("*.md")):
        text = refreshed(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(columns)]
    lines.append(["---"] * len(lines[0]))
    lines += [[_cell(text) for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """Keep a text from ending its cell, or from being read as HTML outside of code."""
    text = text.replace("|", "\\|").replace("\n", " ")
    return _CODE.sub(lambda match: match[0] if match[1] else "&lt;", text)


def _kind(annotation: Any) -> str:
    """Say in words what values an annotation takes."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{each.value}`" for each in annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin is Annotated:
        return _kind(arguments[0])
    inner = [_kind(each) for each in arguments if each not in (type(None), ...)]
    forms: dict[Any, str] = {
        Union: " or ".join(inner),
        UnionType: " or ".join(inner),
        tuple: "list of {0}",
        list: "list of {0}",
        dict: "object, {0} → {1}",
    }
    if origin in forms:
        return forms[origin].format(*inner)
    return f"[{annotation.__name__}](#{annotation.__name__.lower()})"


def _limits(field: FieldInfo) -> str:
    found = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "le")
        if getattr(each, name, None) is not None
    }
    low, high = (f"{found[name]:,}" if name in found else "" for name in ("ge", "le"))
    if low and high:
        return f", {low} to {high}"
    return f", at least {low}" if low else f", at most {high}" if high else ""


def _default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(each) for each in value)}]`"
    return f"`{value}`" if str(value) else "empty"


def _sentence(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


def _configuration() -> str:
    out: list[str] = []
    for name, field in fields_of(Config).items():
        own = [key for key in keys().values() if key.path[0] == name]
        if not own:  # all its keys are without effect
            continue
        section = section_of(field)
        intro = " ".join((section.__doc__ or "").split()) if section else ""
        out.append(f"### `{name}`\n\n{intro}\n\n{_table(_KEY_COLUMNS, map(_key_row, own))}")
    return "\n".join(out)


_KEY_COLUMNS = ("key and variable", "value", "default", "meaning")


def _key_row(key: Key) -> list[str]:
    kind = _kind(key.field.annotation) + _limits(key.field)
    default = _default(key.value(Config()))
    return [f"`{key.dotted}`<br>`{key.variable}`", kind, default, key.description]


def _keys_without_effect() -> str:
    return _table(
        ("key", "what happens to it"),
        [
            *((f"`{dotted}`", f"{why} No effect.") for dotted, why in IGNORED_KEYS.items()),
            *(
                (f"`{key.dotted}`", key.description)
                for key in keys().values()
                if key.effect == "chart"
            ),
        ],
    )


def _commands() -> str:
    group: Any = typer.main.get_command(app)
    out: list[str] = []
    panel = ""
    for path, command in _commands_below(group, ()):
        if command.rich_help_panel and command.rich_help_panel != panel:
            panel = command.rich_help_panel
            out.append(f"## {panel}\n")
        out.append(_command(" ".join(path), command))
    return "\n".join(out)


def _commands_below(group: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands_below(command, (*path, name))
        else:
            yield (*path, name), command


def _command(name: str, command: Any) -> str:
    context: Any = typer.Context(command, info_name=f"sales-mart {name}")
    pieces = [each for each in command.collect_usage_pieces(context) if each != "[OPTIONS]"]
    places = (each.upper().strip("{}") for each in pieces)
    usage = " ".join(["sales-mart", name, *places, "[OPTIONS]"])
    own = [each for each in command.params if not set(each.opts) & {*_SHARED, *_OF_A_RUN}]
    of_a_run = any("--run-id" in each.opts for each in command.params)
    shared = "[Common options](#common-options)"
    shared += " and [options of a run](#options-of-a-run)." if of_a_run else "."
    help_text = " ".join(command.help.split())
    table = _table(("option", "value", "default", "meaning"), map(_option_row, own)) if own else ""
    return f"### `sales-mart {name}`\n\n{help_text}\n\n    {usage}\n\n{table}\n{shared}\n"


def _option_row(option: Any) -> list[str]:
    is_argument = option.param_type_name == "argument"
    name = (option.metavar or option.name).upper() if is_argument else ", ".join(option.opts)
    kind = _kind(option.type_descriptor.annotation)
    if option.metavar and not is_argument:
        kind = ", ".join(f"`{word}`" for word in option.metavar.split("|"))
    without = option.default is None or option.default is False or option.multiple
    default = "" if without else _default(option.default)
    if isinstance(option.default, datetime):
        default = f"`{option.default:%Y-%m-%d}`"
    if option.type_descriptor.annotation is bool:
        kind = ""
    return [f"`{name}`", kind, "required" if option.required else default, option.help or ""]


def _common_options() -> str:
    return _options_named("top", _SHARED)


def _run_options() -> str:
    return _options_named("run", _OF_A_RUN)


def _options_named(command: str, names: tuple[str, ...]) -> str:
    group: Any = typer.main.get_command(app)
    chosen = [each for each in group.commands[command].params if set(each.opts) & set(names)]
    return _table(("option", "value", "default", "meaning"), map(_option_row, chosen))


def _records() -> str:
    out: list[str] = []
    for place, name in (
        *((records, name) for name in records.__all__),
        *((figures, name) for name in figures.__all__),
    ):
        model = getattr(place, name)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        if model is records.Record:
            continue
        rows = [
            [f"`{field_name}`", _kind(field.annotation), _sentence(field.description or "")]
            for field_name, field in model.model_fields.items()
            if not field.exclude and field_name not in ("schema_version", "run_id")
        ]
        intro = " ".join((model.__doc__ or "").split())
        table = _table(("field", "value", "meaning"), rows)
        out.append(f"### {name}\n\n{intro}\n\n{table}")
    return "\n".join(out)


def _valid_columns() -> str:
    columns = schema_of(Config()).valid
    types: Any = arrow_schema(columns)
    return _table(
        ("column", "type", "may be null", "meaning"),
        (
            (f"`{each.name}`", f"`{kind}`", "yes" if each.is_nullable else "no", each.description)
            for each, kind in zip(columns, types.types, strict=True)
        ),
    )


def _quarantine_columns() -> str:
    return _table(
        ("column", "type"),
        (
            (f"`{name}`", f"`{kind}`")
            for name, kind in parquet.quarantine_schema(schema_of(Config())).items()
        ),
    )


def _reasons() -> str:
    fields = {rule.reason: f"`{rule.field}`" for rule in rules(Config())}
    return _table(
        ("reason", "field", "meaning", "decided by", "what to do", "with `trust_input`"),
        (
            [
                f"`{reason}`",
                fields.get(reason, "the record"),
                _sentence(each.meaning),
                "<br>".join(f"`{key}`" for key in each.keys),
                each.remedy,
                "left to the marts" if reason in TRUSTED else "",
            ]
            for reason, each in REASONS.items()
        ),
    )


def _exit_codes() -> str:
    lines = (errors.__doc__ or "").splitlines()
    return "\n".join(line for line in lines if line.startswith("|")) + "\n"


def _errors() -> str:
    classes: list[type[errors.SalesMartError]] = [getattr(errors, name) for name in errors.__all__]
    order = sorted(classes, key=lambda each: (each.exit_code, len(each.__mro__), each.__name__))
    return _table(
        ("class", "base", "exit code", "meaning", "what to do"),
        (
            [
                f"`{each.__name__}`",
                f"`{each.__base__.__name__}`" if each.__base__ else "",
                str(each.exit_code),
                (each.__doc__ or "").splitlines()[0],
                each.advice,
            ]
            for each in order
        ),
    )


def _server_errors() -> str:
    states = {**error_codes.CONFIGURATION_STATES, **error_codes.TEMPORARY_STATES}
    rows = [
        [f"SQLSTATE `{state}`" + ("…" if len(state) == _CLASS else ""), meaning, _code(state)]
        for state, meaning in states.items()
    ]
    refused, busy = (
        error_codes.CONFIGURATION_STATUSES,
        (*error_codes.TEMPORARY_STATUSES, *_SERVER_ERRORS),
    )
    reasons = sorted(error_codes.TEMPORARY_REASONS)
    rows += [
        [f"HTTP {_listed(refused)}", "credentials, rights or names refused", _http(refused)],
        [
            f"HTTP {_listed(error_codes.TEMPORARY_STATUSES)}, 5xx",
            "too many requests, or the service is away",
            _http(busy),
        ],
        [
            "any HTTP status",
            f"with one of the reasons {', '.join(f'`{each}`' for each in reasons)}",
            _http((_WRONG, *refused), reasons),
        ],
        [
            f"HTTP {_WRONG} with the reason `{_TOO_DEAR}`",
            "a query would bill more than `maximum_bytes_billed`",
            _http((_WRONG,), (_TOO_DEAR,)),
        ],
        [
            "no answer",
            "refused, closed, broken off, or silent for too long",
            str(errors.TemporaryError.exit_code),
        ],
        ["anything else", "a statement of ours was wrong", _http((_WRONG,))],
    ]
    return _table(("the server says", "which means", "exit code"), rows)


def _code(state: str) -> str:
    return str(error_codes.kind_of_sqlstate(state).exit_code)


def _listed(statuses: Iterable[int]) -> str:
    return ", ".join(str(each) for each in statuses)


def _http(statuses: Iterable[int], reasons: Iterable[str] = ("",)) -> str:
    """Return the exit code that all of these answers have in common."""
    kinds = {error_codes.kind_of_http(*answer) for answer in product(statuses, reasons)}
    (code,) = {kind.exit_code for kind in kinds}
    return str(code)


def _marts() -> str:
    folder = ROOT / "dbt" / "models"
    loaded = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*/*.yml"))]
    out: list[str] = []
    for model in (model for file in loaded for model in file.get("models", [])):
        intro = " ".join(model["description"].split())
        rows = [
            [f"`{each['name']}`", _column_type(each), " ".join(each["description"].split())]
            for each in model["columns"]
        ]
        columns = ["column", "type", "meaning"]
        if not any(kind for _, kind, _ in rows):  # a view has the types of what it reads
            columns, rows = ["column", "meaning"], [[name, text] for name, _, text in rows]
        out.append(f"### `{model['name']}`\n\n{intro}\n\n{_table(columns, rows)}")
    return "\n".join(out)


def _quality() -> str:
    columns = QUALITY_TABLES[QUALITY_HISTORY]
    types = PostgresDialect()
    return _table(
        ("column", "type", "may be null", "meaning"),
        (
            (
                f"`{each.name}`",
                f"`{types.type_of(each)}`",
                "yes" if each.is_nullable else "no",
                each.description,
            )
            for each in columns
        ),
    )


def _column_type(column: dict[str, Any]) -> str:
    """Return a column's type on PostgreSQL, and on BigQuery where it has another name there."""
    kind = str(column.get("data_type", ""))
    # The last one is what it is unless the configuration says otherwise.
    kind = re.sub(r"\{\{ *(?:var\('\w+'\) or )?var\('(\w+)'\) *\}\}", r"\1", kind)
    if kind == "string":  # which dbt takes for either warehouse
        return "`text` (`string` on BigQuery)"
    if choice := _CHOICE.fullmatch(kind):
        return f"`{choice[2]}` (`{choice[1]}` on BigQuery)"
    return f"`{kind}`" if kind else ""


SECTIONS: dict[str, Callable[[], str]] = {
    "valid-columns": _valid_columns,
    "commands": _commands,
    "common-options": _common_options,
    "configuration": _configuration,
    "errors": _errors,
    "server-errors": _server_errors,
    "exit-codes": _exit_codes,
    "keys-without-effect": _keys_without_effect,
    "marts": _marts,
    "quality": _quality,
    "quarantine-columns": _quarantine_columns,
    "reasons": _reasons,
    "records": _records,
    "run-options": _run_options,
}

if __name__ == "__main__":
    main()
