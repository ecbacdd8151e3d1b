"""What the YAML beside the models tells people: descriptions, tests, where columns come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sales_mart.dbt_runner.project import model_files, parsed, with_additions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_mart.schema import Schema

__all__ = ["DocumentedColumn", "DocumentedModel", "DocumentedTest", "documented_models"]


class DocumentedTest(NamedTuple):
    """A data test of a model or of one of its columns.

    Attributes:
        kind: Name of the generic test.
        name: Its own name; the generic test's where it has none.
        description: What it says of itself.
        arguments: What it is given.
    """

    kind: str
    name: str
    description: str
    arguments: Mapping[str, Any]


class DocumentedColumn(NamedTuple):
    """A column of a model.

    Attributes:
        description: What it means.
        made_from: Roles or names of the columns of a sale that it is made from.
        tests: Its tests.
    """

    description: str
    made_from: tuple[str, ...]
    tests: tuple[DocumentedTest, ...]


class DocumentedModel(NamedTuple):
    """A model: its description, its columns by name, and the tests of its rows."""

    description: str = ""
    columns: Mapping[str, DocumentedColumn] = {}
    tests: tuple[DocumentedTest, ...] = ()


def documented_models(models_path: str | None, schema: Schema) -> dict[str, DocumentedModel]:
    """Return every model that has a YAML file, by name; `marts_of` has found the files readable.

    Args:
        models_path: The folder of the user's own models; None for none.
        schema: The columns of the configuration, which the files do not list.
    """
    return {
        str(model["name"]): DocumentedModel(
            _text(model),
            {
                str(column["name"]): DocumentedColumn(
                    _text(column),
                    tuple(_meta(column).get("made_from") or ()),
                    tuple(_tests(column)),
                )
                for column in model.get("columns") or []
            },
            tuple(_tests(model)),
        )
        for path in model_files(models_path)
        if path.suffix != ".sql"
        for model in (with_additions(parsed(path.read_text("utf-8")), schema) or {}).get("models")
        or []
    }


def _text(said: Mapping[str, Any]) -> str:
    """Return a description as one line."""
    return " ".join(str(said.get("description") or "").split())


def _meta(said: Mapping[str, Any]) -> Mapping[str, Any]:
    return (said.get("config") or {}).get("meta") or {}


def _tests(said: Mapping[str, Any]) -> Iterator[DocumentedTest]:
    for each in said.get("data_tests") or said.get("tests") or []:
        kind, given = next(iter(each.items())) if isinstance(each, dict) else (each, {})
        known: Mapping[str, Any] = given or {}
        yield DocumentedTest(
            str(kind),
            str(known.get("name") or kind),
            _text(known),
            known.get("arguments") or {},
        )
