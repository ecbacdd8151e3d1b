"""The dbt project: where it is, and what its models are made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sales_mart.errors import UnexpectedError

__all__ = ["model_files", "models_digest", "project_folder"]


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
