"""Files of the local PostgreSQL server where the user that root starts it as can get at them."""

from __future__ import annotations

import logging
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from sales_mart.errors import ConfigurationError
from sales_mart.lake.storage import Folder
from sales_mart.lake.temporary import make_folder

__all__ = ["PLACES", "within_reach"]

_log = logging.getLogger(__name__)

PLACES = Path("/var/lib/sales-mart")
"""Where root keeps what the server's user would not reach where it is."""
_PLACE = "postgres.place"


def within_reach(folder: Path, install: Path, data: Path, user: str) -> tuple[Path, Path]:
    """Return programs and data that the server's user can get at.

    The folders above them may be closed to others, as root's home is. They stay closed: what is
    out of reach goes into a folder of its own, which `postgres.place` names.

    Raises:
        ConfigurationError: There is data already that its user may not get at any more.
    """
    place = _own_place(folder)
    if not _is_open(install / "bin", user):
        place = place or _make_place(folder)
        install = _copied(install, place)
    if data.exists() and not _is_open(folder, user):
        msg = f"{data} belongs to {user}, who may not pass through the folders above it"
        raise ConfigurationError(
            msg, remedy="Let others pass through them (chmod o+x), or name another folder."
        )
    if not data.exists() and not _is_open(folder, user):
        data = (place or _make_place(folder)) / "postgres"
    elif not data.exists() and place is not None and (place / "postgres").exists():
        data = place / "postgres"
    return install, data


def _is_open(path: Path, user: str) -> bool:
    """Return whether a user may pass through the folders of a path, this one included."""
    entry = pwd.getpwnam(user)
    for folder in {path, *path.parents, path.resolve(), *path.resolve().parents}:
        found = folder.stat()
        bit = stat.S_IXOTH
        if found.st_uid == entry.pw_uid:
            bit = stat.S_IXUSR
        elif found.st_gid == entry.pw_gid:
            bit = stat.S_IXGRP
        if not found.st_mode & bit:
            return False
    return True


def _own_place(folder: Path) -> Path | None:
    """Find the folder outside of `folder` that belongs to it, if there is one."""
    named = folder / _PLACE
    place = Path(named.read_text()) if named.exists() else None
    return place if place is not None and place.is_dir() else None


def _make_place(folder: Path) -> Path:
    """Make the folder outside of `folder` that belongs to it.

    Its name is written down and not derived: a folder that was deleted and made again must not
    find the data of the one before, which has another password.
    """
    make_folder(PLACES)
    place = Path(tempfile.mkdtemp(prefix="local-", dir=PLACES))
    place.chmod(0o711)  # ours: others pass through it, and list nothing
    Folder(folder).write(_PLACE, str(place).encode())
    _log.warning(
        "PostgreSQL does not run as root and may not enter all folders above its files: they "
        "stand in %s, which goes with %s when you delete that",
        place,
        folder,
    )
    return place


def _copied(install: Path, place: Path) -> Path:
    """Copy the server's programs to where its user can run them, once."""
    package = install.parent
    copy, fresh = place / "programs", place / "programs.new"
    if not copy.exists():
        shutil.rmtree(fresh, ignore_errors=True)
        # The wheel has the libraries beside the package.
        for each in (package, package.with_name(f"{package.name}.libs")):
            if each.exists():
                shutil.copytree(each, fresh / each.name, symlinks=True)
        for each in (fresh, *fresh.rglob("*")):
            if not each.is_symlink():
                mode = stat.S_IMODE(each.stat().st_mode)
                each.chmod(mode | 0o444 | (0o111 if mode & stat.S_IXUSR else 0))
        fresh.rename(copy)
    return copy / package.name / install.name
