"""The marts: which tables are published, by slice, and what the warehouses must agree in.

A model's YAML says it under `config.meta`, and this is the only place where a mart is listed:

    publish: mart        # mart: readers see it · private: it stands beside the raw table
    slice: sale_date     # sale_date or sale_month: a run replaces these · none: the whole table
    compare: [sale_month]  # columns that the warehouses must agree in; default: all of them
    grain: [sale_month]  # columns that tell the rows apart
    each: dimension      # a column of which each value has all sales once
    attributes: true     # the columns that the configuration adds stand behind the others

`marts_of` reads these files, which takes no dbt. `transform` compares what it says with dbt's
manifest before it builds, so that no table is built that nobody publishes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import yaml
from jinja2 import Environment, TemplateError
from pydantic import BaseModel, ConfigDict

from sales_mart.dbt_runner.project import model_files, parsed, with_additions
from sales_mart.errors import ConfigurationError
from sales_mart.names import QUALITY_HISTORY
from sales_mart.schema import (
    AMOUNT_DIGITS,
    MEASURES,
    PRICE_DIGITS,
    Kind,
    Measure,
    TableColumn,
    schema_of,
)

if TYPE_CHECKING:
    from sales_mart.schema import Schema
    from sales_mart.warehouses.base import Warehouse

__all__ = [
    "FACT_MODEL",
    "Mart",
    "Partition",
    "check_manifest",
    "fact",
    "marts_of",
    "read_marts",
    "type_variables",
]

_KINDS: dict[str, Kind] = {
    "string": "text",
    "text": "text",
    "character varying": "text",
    "varchar": "text",
    "int64": "integer",
    "bigint": "integer",
    "integer": "integer",
    "int": "integer",
    "numeric": "decimal",
    "decimal": "decimal",
    "bignumeric": "decimal",
    "date": "date",
    "boolean": "boolean",
    "bool": "boolean",
}
_TYPE = re.compile(
    r"(?P<name>[a-z0-9 ]+?)\s*(?:\(\s*(?P<digits>\d+)\s*(?:,\s*(?P<scale>\d+)\s*)?\))?",
    re.IGNORECASE,
)
_EXAMPLE = "config: {meta: {publish: mart, slice: none}}"
_SLICES = ("sale_date", "sale_month", "none")
# What stores no rows of its own needs no word on how it is published.
_STORELESS = ("view", "ephemeral")
_PUBLISHED = re.compile(r"source\..*\.published_\w+")
FACT_MODEL = "fact_sales"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Partition(_Frozen):
    """How a warehouse that partitions tables does it.

    Attributes:
        column: The column, a date.
        granularity: `day` or `month`.
    """

    column: str
    granularity: Literal["day", "month"]


class Mart(_Frozen):
    """One table that dbt builds, and how it is published and compared.

    Attributes:
        name: The table's name in the warehouse.
        model: Name of the dbt model.
        publish: `mart`, for readers, or `private`, beside the raw table.
        slice: The column by which a run replaces a part of the table; None when it is small and
            replaced whole.
        columns: The columns in the order of the model's YAML.
        sums: What is added up over all facts -> the column that holds the sums.
        grain: Names of the columns that tell its rows apart.
        each: The column of which each value has all facts once; None where all of the mart has.
        compared: Names of the columns that the warehouses must agree in.
        partition: How a warehouse that partitions does so; None for not at all.
        cluster: Columns by which a warehouse that clusters does so.
    """

    name: str
    model: str
    publish: Literal["mart", "private"]
    slice: Literal["sale_date", "sale_month"] | None
    columns: tuple[TableColumn, ...]
    compared: tuple[str, ...]
    sums: dict[Measure, str] = {}
    grain: tuple[str, ...] = ()
    each: str | None = None
    partition: Partition | None = None
    cluster: tuple[str, ...] = ()

    @property
    def compared_columns(self) -> tuple[TableColumn, ...]:
        """The columns that the warehouses must agree in."""
        return tuple(column for column in self.columns if column.name in self.compared)


def marts_of(warehouse: Warehouse) -> tuple[Mart, ...]:
    """Return the marts of a warehouse as the models' YAML files have them, by name.

    Args:
        warehouse: The warehouse; its configuration may add a folder of the user's own models.

    Raises:
        ConfigurationError: A file is no YAML, or says something of a mart that cannot be.
    """
    config = warehouse.config
    schema = schema_of(config)
    values = {
        "max_decimals": config.rules.max_decimals,
        **type_variables(schema),
        **warehouse.dbt_variables(),
    }
    variables = frozenset(
        (name, tuple(value) if isinstance(value, list) else value) for name, value in values.items()
    )
    found: list[Mart] = []
    for path in model_files(config.transformation.models_path):
        if path.suffix == ".sql":
            continue
        try:
            properties = with_additions(parsed(path.read_text("utf-8")), schema)
            for model in (properties or {}).get("models") or []:
                meta = (model.get("config") or {}).get("meta") or {}
                enabled = _rendered(str(model.get("config", {}).get("enabled", True)), variables)
                if "publish" not in meta or enabled == "False":
                    continue
                columns = {
                    column["name"]: column
                    | {"data_type": _rendered(str(column.get("data_type") or ""), variables)}
                    for column in model.get("columns") or []
                }
                name = warehouse.fact_table if model["name"] == FACT_MODEL else model["name"]
                found.append(
                    _mart(
                        {
                            "name": model["name"],
                            "alias": model["config"].get("alias") or name,
                            "config": {"materialized": "table"} | model["config"],
                            "columns": columns,
                            "original_file_path": path.name,
                        }
                    )
                )
        except (
            yaml.YAMLError,
            UnicodeDecodeError,
            TemplateError,
            AttributeError,
            KeyError,
        ) as error:
            msg = f"{path} cannot be read as the YAML of dbt models: {type(error).__name__}"
            raise ConfigurationError(
                msg, remedy="`dbt parse` in that folder says where it is wrong."
            ) from None
    return _by_name(found)


def type_variables(schema: Schema) -> dict[str, Any]:
    """Return the vars of the dbt project that say which columns there are and what they hold.

    A warehouse may call a whole number otherwise.
    """
    decimals = schema.quantity_decimals

    def decimal(digits: int) -> str | None:
        return f"numeric({digits}, {decimals})" if decimals else None

    return {
        "integer_type": "bigint",
        "quantity_type": decimal(PRICE_DIGITS),
        "total_quantity_type": decimal(AMOUNT_DIGITS),
        "dimensions": [column.name for column in schema.of_role("dimension")],
    }


def read_marts(manifest: Mapping[str, Any]) -> tuple[Mart, ...]:
    """Return every table that dbt builds, by name.

    Args:
        manifest: dbt's `manifest.json`.

    Raises:
        ConfigurationError: A table does not say how it is published, what it is sliced by, or
            what its columns hold; or a table that is replaced whole reads one of which only the
            slices of this run are there.
    """
    nodes: dict[str, Mapping[str, Any]] = {
        key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"
    }
    marts = {
        key: _mart(node)
        for key, node in nodes.items()
        if node["config"]["materialized"] not in _STORELESS
    }
    for key, mart in marts.items():
        if mart.slice is None:
            _check_reads(key, nodes, marts)
    return _by_name(marts.values())


def check_manifest(built: Iterable[Mart], declared: Iterable[Mart]) -> None:
    """Check that dbt will build exactly the tables that are published and compared.

    Args:
        built: What dbt's manifest has.
        declared: What the YAML files have.

    Raises:
        ConfigurationError: They differ.
    """
    here = {mart.model: mart for mart in built}
    there = {mart.model: mart for mart in declared}
    for model in sorted(here.keys() | there.keys()):
        if here.get(model) != there.get(model):
            msg = f"dbt builds {model} otherwise than its YAML file says"
            raise ConfigurationError(
                msg,
                remedy="Write alias, partition_by, cluster_by, meta and the types of columns into "
                "the YAML beside the model, in plain words or by var(): nowhere else.",
            )


def fact(marts: Iterable[Mart]) -> Mart:
    """Return the fact table among the marts."""
    return next(mart for mart in marts if mart.model == FACT_MODEL)


@lru_cache(maxsize=1024)
def _rendered(text: str, variables: frozenset[tuple[str, Any]]) -> str:
    """Render a column's type, which may ask for variables, once for each text."""
    template = Environment(autoescape=False).from_string(text)  # noqa: S701 - a type, no HTML
    return template.render(var=dict(variables).get)


def _by_name(marts: Iterable[Mart]) -> tuple[Mart, ...]:
    found = sorted(marts, key=lambda mart: mart.name)
    if own := [mart.model for mart in found if mart.name == QUALITY_HISTORY]:
        msg = f"the model {own[0]} is called {QUALITY_HISTORY}, as a table of the pipeline is"
        raise ConfigurationError(msg, remedy="Give it another name or alias.")
    for one, other in pairwise(found):
        if one.name == other.name:
            msg = f"the models {one.model} and {other.model} are both called {one.name}"
            raise ConfigurationError(msg, remedy="Give one of them another name or alias.")
    return tuple(found)


def _mart(node: Mapping[str, Any]) -> Mart:
    meta, where = node["config"].get("meta") or {}, node["original_file_path"]
    if node["config"]["materialized"] != "table":
        msg = f"the model {node['name']} ({where}) is {node['config']['materialized']}"
        raise ConfigurationError(msg, remedy="Make it a table or a view: each run builds it anew.")
    _check_word(node, meta, "publish", ("mart", "private"))
    _check_word(node, meta, "slice", _SLICES)
    columns = tuple(_column(node, column) for column in node["columns"].values())
    names = [column.name for column in columns]
    compared = tuple(meta.get("compare") or names)
    slice_by = None if meta["slice"] == "none" else meta["slice"]
    sums = _sums(node, meta.get("sums") or {})
    grain, each = tuple(meta.get("grain") or ()), meta.get("each")
    for name in (*compared, *sums.values(), *grain, *filter(None, (slice_by, each))):
        if name not in names:
            msg = f"the model {node['name']} ({where}) names {name}, which is none of its columns"
            raise ConfigurationError(msg, remedy="List all columns of the model in its YAML.")
    if not columns:
        msg = f"the model {node['name']} ({where}) lists no columns"
        raise ConfigurationError(msg, remedy="List its columns, each with name and data_type.")
    by = node["config"].get("partition_by")
    return Mart(
        name=node["alias"],
        model=node["name"],
        publish=meta["publish"],
        slice=slice_by,
        columns=columns,
        compared=compared,
        sums=sums,
        grain=grain,
        each=each,
        partition=by and Partition(column=by["field"], granularity=by["granularity"]),
        cluster=tuple(node["config"].get("cluster_by") or ()),
    )


def _check_word(
    node: Mapping[str, Any], meta: Mapping[str, Any], key: str, words: tuple[str, ...]
) -> None:
    if meta.get(key) not in words:
        said = f"{key}: {meta[key]}" if key in meta else f"no {key}"
        msg = f"the model {node['name']} ({node['original_file_path']}) has {said} in config.meta"
        raise ConfigurationError(
            msg,
            remedy=f"Write one of {', '.join(words)} there, as in `{_EXAMPLE}`: a table that is "
            "built and neither published nor compared would be seen by nobody.",
        )


def _sums(node: Mapping[str, Any], said: Mapping[str, Any]) -> dict[Measure, str]:
    """Return measure -> column of what the YAML says the other way round."""
    said_once = len(set(map(str, said.values()))) == len(said)
    if not said_once or not all(measure in MEASURES for measure in said.values()):
        where = node["original_file_path"]
        msg = f"the model {node['name']} ({where}) has sums: {said} in config.meta"
        raise ConfigurationError(
            msg, remedy=f"Give each of {', '.join(MEASURES)} one column at most, and no other word."
        )
    return {measure: name for name, measure in said.items()}


def _column(node: Mapping[str, Any], column: Mapping[str, Any]) -> TableColumn:
    found = _TYPE.fullmatch(str(column.get("data_type") or "").strip())
    kind = found and _KINDS.get(found["name"].lower())
    if found is None or kind is None:
        said = column.get("data_type") or "no data_type"
        msg = (
            f"the column {column['name']} of the model {node['name']} "
            f"({node['original_file_path']}) has {said}"
        )
        kinds = ", ".join(dict.fromkeys(_KINDS))
        raise ConfigurationError(msg, remedy=f"Give it one of these types: {kinds}.")
    constraints: list[Mapping[str, Any]] = column.get("constraints") or []
    return TableColumn(
        name=column["name"],
        kind=kind,
        scale=int(found["scale"] or 0),
        digits=int(found["digits"] or 0) if kind == "decimal" else 64,
        is_nullable=all(each["type"] != "not_null" for each in constraints),
    )


def _check_reads(
    key: str, nodes: Mapping[str, Mapping[str, Any]], marts: Mapping[str, Mart]
) -> None:
    """Refuse a whole table that is made from the rows of a window only."""
    waiting, seen = [key], {key}
    while waiting:
        parents: list[str] = nodes[waiting.pop()]["depends_on"]["nodes"]
        # It adds the published rows itself, as the view `sales` does.
        if any(_PUBLISHED.fullmatch(parent) for parent in parents):
            continue
        for parent in parents:
            if parent in marts and marts[parent].slice is not None:
                node = nodes[key]
                msg = (
                    f"the model {node['name']} ({node['original_file_path']}) has slice: none and "
                    f"reads {marts[parent].model}, which holds only the days that a run changes"
                )
                raise ConfigurationError(
                    msg, remedy="Read ref('sales'), which has all rows, or give it a slice."
                )
            if parent in nodes and parent not in marts and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
