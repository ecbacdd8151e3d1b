"""The dbt project: where it is, and what its models are made of."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sales_mart.errors import ConfigurationError, UnexpectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.schema import SaleColumn

__all__ = ["model_files", "models_digest", "project_folder", "project_of", "with_attributes"]

_TYPES = {
    "text": "string",
    "integer": "{{ var('integer_type') }}",
    "date": "date",
    "boolean": "boolean",
}


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


def models_digest(models_path: str | None) -> str:
    """Return the SHA-256 of all models and macros: other ones mean other marts."""
    digest = hashlib.sha256()
    macros = sorted((project_folder() / "macros").glob("*.sql"))
    for path in (*model_files(models_path), *macros):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def with_attributes(properties: Any, attributes: Sequence[SaleColumn]) -> Any:
    """Return the YAML of models with the columns that the configuration adds.

    Args:
        properties: A file's content; models with `attributes: true` in their `meta` get them.
        attributes: The columns.
    """
    added = [
        {
            "name": column.name,
            "description": column.description,
            "data_type": _TYPES.get(column.kind) or f"numeric({column.digits}, {column.scale})",
            "quote": True,
        }
        for column in attributes
    ]
    if not added or not isinstance(properties, dict):
        return properties
    models = [
        model | {"columns": [*model["columns"], *added]} if _takes_attributes(model) else model
        for model in properties.get("models") or []
    ]
    return properties | {"models": models}


def _takes_attributes(model: dict[str, Any]) -> bool:
    meta = (model.get("config") or {}).get("meta") or {}
    return bool(meta.get("attributes"))


def project_of(models_path: str | None, attributes: Sequence[SaleColumn], folder: Path) -> Path:
    """Return the dbt project of a configuration: ours, or a copy with what it adds.

    Args:
        models_path: The folder of the user's own models, which stand in `models/own` of the copy.
        attributes: The columns that the configuration adds.
        folder: Where a copy is put.

    Raises:
        ConfigurationError: `models_path` is no folder with models.
    """
    ours = project_folder()
    if models_path is None and not attributes:
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
    for path in project.glob("models/**/*.yml") if attributes else ():
        before = yaml.safe_load(path.read_text("utf-8"))
        after = with_attributes(before, attributes)
        if after != before:
            path.write_text(yaml.safe_dump(after, sort_keys=False), "utf-8")
    return project
