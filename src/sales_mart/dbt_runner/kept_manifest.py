"""The parsed dbt project, kept from run to run: parsing it takes seconds, reading it little.

A manifest is kept under a digest of all that it is made of, in a folder of this user's own. It is
data, not code: reading a wrong one can give wrong statements, so a file counts only as a whole, by
its own digest, and never where other users could have written it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MOST_KEPT", "digest_of", "folder", "keep", "read"]

_log = logging.getLogger(__name__)

MOST_KEPT = 32
_DBT = ("dbt-core", "dbt-common", "dbt-adapters")
_WRITTEN_BY_DBT = frozenset({"target", "logs", "dbt_packages"})


def folder() -> Path:
    """Return where manifests are kept: `sales-mart/dbt` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sales-mart" / "dbt"


def digest_of(project: Path, packages: Iterable[str], told: Mapping[str, Any]) -> str:
    """Return the digest of everything that a manifest is made of.

    Args:
        project: The dbt project; every file in it counts.
        packages: The distributions of the adapter; their versions count, and dbt's own.
        told: What dbt is told besides: the target, its vars, the names of database and schema.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for part in (python_version(), *map(_version, (*_DBT, *packages)), json.dumps(told)):
        digest.update(f"{part}\0".encode())
    for path in sorted(project.rglob("*")):
        inner = path.relative_to(project)
        if path.is_file() and not _WRITTEN_BY_DBT.intersection(inner.parts):
            digest.update(f"{inner}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def read(name: str) -> Any:
    """Return the manifest of a digest, ready to run commands with.

    Returns:
        The manifest; None when there is none, when its file is damaged or may be another user's
        work, or when a variable of the environment that a model asks for has changed.
    """
    from dbt.constants import DEFAULT_ENV_PLACEHOLDER
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder  # dbt spells it so

    try:
        path = _own_folder() / name
        content = path.read_bytes()
        sealed, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != sealed:
            _log.debug("the kept manifest %s is damaged, and is made again", path)
            return None
        manifest: Any = Manifest.from_msgpack(data, decoder=extended_mashumuro_decoder)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the project is parsed
        _log.debug("no kept manifest: %s", type(error).__name__)
        return None
    asked: dict[str, str] = manifest.env_vars
    if any(os.environ.get(key, DEFAULT_ENV_PLACEHOLDER) != asked[key] for key in asked):
        return None
    with suppress(OSError):
        path.touch()  # those that were used last stay longest
    return manifest


def keep(name: str, manifest: Any) -> None:
    """Keep a manifest; where that is not possible, nothing is kept and nothing is said."""
    from dbt.parser.manifest import extended_mashumaro_encoder

    with suppress(OSError, RuntimeError):  # the latter where a user has no home
        own = _own_folder()
        data: bytes = manifest.to_msgpack(extended_mashumaro_encoder)
        unfinished = own / f"{uuid4().hex}.tmp"
        try:
            unfinished.write_bytes(hashlib.sha256(data).digest() + data)
            unfinished.replace(own / name)
        finally:
            unfinished.unlink(missing_ok=True)
        by_age = sorted(own.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_age[MOST_KEPT:]:
            path.unlink(missing_ok=True)


def _own_folder() -> Path:
    """Make the folder, and see that no other user can write to it.

    Raises:
        OSError: It cannot be made, or is not this user's alone.
    """
    own = folder()
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = own.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        msg = f"{own} is not this user's alone"
        raise PermissionError(msg)
    return own


def _version(package: str) -> str:
    with suppress(PackageNotFoundError):
        return f"{package}=={version(package)}"
    return package
