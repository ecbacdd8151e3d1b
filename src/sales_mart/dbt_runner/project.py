"""The dbt project: where it is, and what its models are made of."""

from __future__ import annotations

import hashlib
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sales_mart.errors import ConfigurationError, UnexpectedError
from sales_mart.names import RETURNED
from sales_mart.schema import MEASURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.schema import SaleColumn, Schema

__all__ = [
    "model_files",
    "models_digest",
    "parsed",
    "project_folder",
    "project_of",
    "with_additions",
]

_TYPES = {
    "text": "string",
    "integer": "{{ var('integer_type') }}",
    "date": "date",
    "boolean": "boolean",
}
_RETURNED = [
    {
        "name": name,
        "description": f"Sum of the {what} of returns, as a positive number; 0 without returns.",
        "data_type": kind,
        "constraints": [{"type": "not_null"}],
        "config": {"meta": {"made_from": [measure]}},
    }
    for name, measure, what, kind in zip(
        RETURNED,
        MEASURES[1:],
        ("amounts", "pieces"),
        (
            "numeric(29, {{ var('max_decimals') }})",
            "{{ var('total_quantity_type') or var('integer_type') }}",
        ),
        strict=True,
    )
]
"""Columns of the marts with sums, where there are returns."""


def project_folder() -> Path:
    """Find the dbt project: inside of an installed package, at the root of a checkout.

    Raises:
        UnexpectedError: The installation is not whole.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "dbt", package.parent.parent / "dbt"):
        if (folder / "dbt_project.yml").is_file():
            return folder
    msg = f"the dbt project is missing beside {package}"
    raise UnexpectedError(msg, remedy="Install the package again.")


def model_files(models_path: str | None) -> list[Path]:
    """Return the files of our models and of the user's, in the order of their paths.

    Args:
        models_path: The folder of the user's own models; None for none.
    """
    folders = [project_folder() / "models", *([Path(models_path)] if models_path else [])]
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {".sql", ".yml", ".yaml"}
    ]


@lru_cache(maxsize=128)
def parsed(text: str) -> Any:
    """Parse YAML once for each text: a step asks for its marts many times, under a lock."""
    return yaml.safe_load(text)


def models_digest(models_path: str | None) -> str:
    """Return the SHA-256 of all models and macros: other ones mean other marts."""
    digest = hashlib.sha256()
    macros = sorted((project_folder() / "macros").glob("*.sql"))
    for path in (*model_files(models_path), *macros):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def with_additions(properties: Any, schema: Schema) -> Any:
    """Return the YAML of models with the columns that the configuration adds.

    A model says under `config.meta` which of them it takes:

        attributes: true             # all attributes, behind its other columns
        grain: [product, sale_month] # the currency, behind these, and in tests of the grain
        returns: {nullable: […]}     # what was returned, at the end and in tests of sums; of the
                                     # listed columns there may be none then

    Args:
        properties: A file's content.
        schema: The columns of the configuration.
    """
    if not isinstance(properties, dict) or not _has_additions(schema):
        return properties
    models = properties.get("models") or []
    return properties | {"models": [_with_additions(model, schema) for model in models]}


def _has_additions(schema: Schema) -> bool:
    return bool(schema.attributes) or schema.has_returns


def _with_additions(model: dict[str, Any], schema: Schema) -> dict[str, Any]:
    meta: dict[str, Any] = (model.get("config") or {}).get("meta") or {}
    columns: list[dict[str, Any]] = list(model.get("columns") or [])
    tests: list[Any] = list(model.get("data_tests") or [])
    if meta.get("attributes"):
        columns += map(_attribute, schema.attributes)
    currency = schema.of_role("currency")
    if grain := meta.get("grain"):
        at = [column["name"] for column in columns].index(grain[-1]) + 1
        columns[at:at] = map(_attribute, currency)
        names = [column.name for column in currency]
        meta = meta | {"grain": [*grain, *names]}
        tests = [_with_names(test, "grain_is_unique", "columns", names) for test in tests]
    if "returns" in meta and schema.has_returns:
        nullable = meta["returns"]["nullable"]
        columns = [
            {key: said for key, said in column.items() if key != "constraints"}
            if column["name"] in nullable
            else column
            for column in columns
        ]
        columns += _RETURNED
        for test in ("sums_agree", "dimensions_agree"):
            tests = [_with_names(each, test, "measures", RETURNED) for each in tests]
    added = {"config": model["config"] | {"meta": meta}} if meta else {}
    added |= {"data_tests": tests} if tests else {}
    return model | added | {"columns": columns}


def _with_names(test: Any, name: str, argument: str, added: Sequence[str]) -> Any:
    """Return a test of a model; where it is the named one, with more names in its argument."""
    if not isinstance(test, dict) or name not in test:
        return test
    said: dict[str, Any] = test[name]
    arguments = said["arguments"] | {argument: [*said["arguments"][argument], *added]}
    return {name: said | {"arguments": arguments}}


def _attribute(column: SaleColumn) -> dict[str, Any]:
    return {
        "name": column.name,
        "description": column.description,
        "data_type": _TYPES.get(column.kind) or f"numeric({column.digits}, {column.scale})",
        "quote": True,
    }


def project_of(models_path: str | None, schema: Schema, folder: Path) -> Path:
    """Return the dbt project of a configuration: ours, or a copy with what it adds.

    Args:
        models_path: The folder of the user's own models, which stand in `models/own` of the copy.
        schema: The columns of the configuration.
        folder: Where a copy is put.

    Raises:
        ConfigurationError: `models_path` is no folder with models.
    """
    ours = project_folder()
    has_additions = _has_additions(schema)
    if models_path is None and not has_additions:
        return ours
    project = folder / "project"
    try:
        shutil.copytree(ours, project, ignore=shutil.ignore_patterns("target", "logs"))
        if models_path is not None:
            if not any(Path(models_path).rglob("*.sql")):
                msg = f"transformation.models_path: {models_path} is not a folder with SQL files"
                raise ConfigurationError(msg, remedy="Name the folder that holds the models.")
            shutil.copytree(models_path, project / "models" / "own")
    except OSError as error:
        what = f"transformation.models_path: {models_path or ours}"
        msg = f"{what} cannot be copied: {error.strerror or error}"
        raise ConfigurationError(msg, remedy="Let this user read all files in it.") from error
    for path in project.glob("models/**/*.yml") if has_additions else ():
        before = yaml.safe_load(path.read_text("utf-8"))
        after = with_additions(before, schema)
        if after != before:
            path.write_text(yaml.safe_dump(after, sort_keys=False), "utf-8")
    return project
