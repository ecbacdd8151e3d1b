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
from importlib.metadata import distribution
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOST_KEPT", "digest_of", "folder", "keep", "read"]

_log = logging.getLogger(__name__)

MOST_KEPT = 32
_VARYING = (b"run_started_at", b"modules.datetime", b"modules.pytz", b"invocation_id")
_OWN_VARIABLES = "SALES_MART_DATA_WAREHOUSE__"
_WRITTEN_BY_DBT = frozenset({"target", "logs", "dbt_packages"})


def folder() -> Path:
    """Return where manifests are kept: `sales-mart/dbt` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sales-mart" / "dbt"


def digest_of(project: Path, told: Sequence[Any]) -> str | None:
    """Return the digest of everything that a manifest is made of.

    Args:
        project: The dbt project; every file in it counts.
        told: What dbt is told besides: the target, its vars, the names of database and schema.

    Returns:
        64 hex characters; None when the project asks for the time or the number of a run, so that
        each parse may give another manifest.

    Raises:
        OSError: A file cannot be read.
    """
    digest = hashlib.sha256()
    # The folders of installed distributions have their versions in their names.
    installed = Path(str(distribution("dbt-core").locate_file(""))).glob("dbt*-info")
    for part in (python_version(), *sorted(path.name for path in installed), json.dumps(told)):
        digest.update(f"{part}\0".encode())
    for path in sorted(project.rglob("*")):
        inner = path.relative_to(project)
        if path.is_file() and inner.parts[0] not in _WRITTEN_BY_DBT:
            content = path.read_bytes()
            if any(word in content for word in _VARYING):
                return None
            digest.update(f"{inner}\0{hashlib.sha256(content).hexdigest()}\0".encode())
    return digest.hexdigest()


def read(name: str) -> Any:
    """Return the manifest of a digest, ready to run commands with.

    Returns:
        The manifest; None when there is none, when its file is damaged or may be another user's
        work, or when a variable of the environment that it was made with has changed.
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
    """Keep a manifest; where that is not possible, nothing is kept and nothing is said.

    One that was made with variables which a user's model asks for holds their values, and may so
    hold a secret: it is not kept.
    """
    from dbt.parser.manifest import extended_mashumaro_encoder

    if not all(variable.startswith(_OWN_VARIABLES) for variable in manifest.env_vars):
        return

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
    """Make the folder, and see that no other user can look into it.

    Raises:
        OSError: It cannot be made, or is not this user's alone.
    """
    own = folder()
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = own.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        msg = f"{own} is not this user's alone"
        raise PermissionError(msg)
    return own
