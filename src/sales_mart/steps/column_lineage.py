"""Which column is made from which: source -> raw table -> marts, as OpenLineage says it.

It follows from the columns of a sale, and from what the YAML beside the models says: a column of a
mart comes from the raw column of its name, from the measure that it sums up, or from what
`config.meta.made_from` names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.schema import NUMBERS, POSITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sales_mart.dbt_runner.documented import DocumentedModel
    from sales_mart.marts import Mart
    from sales_mart.schema import Measure, Role, SaleColumn, Schema, TableColumn

__all__ = ["Dataset", "fields_of_source", "mart_lineage", "raw_lineage", "schema_fields"]

_COUNTED: dict[Measure, Role] = {"rows": "key"}
"""Measure -> the role that it counts, where no column has its name."""


class Dataset(NamedTuple):
    """A dataset as OpenLineage names it."""

    namespace: str
    name: str


def fields_of_source(schema: Schema) -> tuple[str, ...]:
    """Return the names that the columns of a source may have, as far as they are read."""
    names = (name for column in schema.columns for name in _names(column))
    return tuple(dict.fromkeys(names))


def schema_fields(columns: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return columns by name, type and description as a schema facet has them."""
    return [
        {"name": name, "type": kind, "ordinal_position": ordinal}
        | ({"description": description} if description else {})
        for ordinal, (name, kind, description) in enumerate(columns, start=1)
    ]


def raw_lineage(schema: Schema, sources: Sequence[Dataset], algorithm: str) -> dict[str, Any]:
    """Return the lineage of the raw table's columns.

    Args:
        schema: The columns of a sale.
        sources: What was read.
        algorithm: How tokens are made.
    """
    found: dict[str, Any] = {}
    for column in schema.columns:
        names = [*_names(column)] if column.field else []
        subtype = "TRANSFORMATION"
        description = ""
        if column.field is None:
            # An amount, or a price, that the files do not have is computed from the other numbers.
            others = [each for each in schema.columns if each.field in NUMBERS]
            names = [name for each in others for name in _names(each)]
            description = column.description
        elif column.is_personal:
            description = f"a token, by {algorithm}"
        elif column.kind == "text" and len(column.origin.parts) == 1:
            subtype = "IDENTITY"
        fields = [
            _input(source, name, subtype, description, masking=column.is_personal)
            for source in sources
            for name in names
        ]
        if fields:
            found[column.name] = {"inputFields": fields} | (
                {"transformationType": "MASKED", "transformationDescription": description}
                if column.is_personal
                else {}
            )
    return found


def mart_lineage(mart: Mart, schema: Schema, said: DocumentedModel, raw: Dataset) -> dict[str, Any]:
    """Return the lineage of a mart's columns; of one that nothing is said of there is none."""
    found: dict[str, Any] = {}
    for column in mart.columns:
        origins = [*_origins(column, mart, schema, said)]
        same = [each.name for each in origins] == [column.name]
        subtype = "IDENTITY" if same else _subtype(column, mart)
        if origins:
            found[column.name] = {
                "inputFields": [_input(raw, each.name, subtype) for each in origins]
            }
    return found


def _subtype(column: TableColumn, mart: Mart) -> str:
    is_part_of_grain = column.name in mart.grain or not mart.grain
    return "TRANSFORMATION" if is_part_of_grain else "AGGREGATION"


def _origins(
    column: TableColumn, mart: Mart, schema: Schema, said: DocumentedModel
) -> Iterator[SaleColumn]:
    """Yield the columns of a sale that a column of a mart is made from."""
    documented = said.columns.get(column.name)
    made_from: set[str] = {*documented.made_from} if documented else set()
    summed: Mapping[str, Measure] = {name: measure for measure, name in mart.sums.items()}
    if not made_from and column.name in summed:
        measure = summed[column.name]
        made_from = {_COUNTED.get(measure, measure)}
    elif not made_from and column.name == mart.slice:
        made_from = {schema.named("date")}
    for each in schema.columns:
        if each.name == column.name if not made_from else {each.name, each.role} & made_from:
            yield each


def _names(column: SaleColumn) -> Iterator[str]:
    """Yield the names that a column of the source may have; a position in a file is none."""
    for part in column.origin.parts:
        yield from (name for name in part if name not in POSITIONS)


def _input(
    dataset: Dataset, field: str, subtype: str, description: str = "", *, masking: bool = False
) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "DIRECT", "subtype": subtype, "masking": masking}
    if description:
        kind["description"] = description
    return {**dataset._asdict(), "field": field, "transformations": [kind]}
