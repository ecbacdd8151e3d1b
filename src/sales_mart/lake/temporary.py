"""Folders for unfinished files: they go with the attempt that made them, however it ends.

A process that is killed removes nothing. So each folder is locked while somebody works in it, and
whoever makes the next one of the same name removes those that nobody holds any more. The lock is
the kernel's: it goes with the last process that holds it, and no number of a process is compared,
which means nothing between two containers and is used again within one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from sales_mart.errors import ConfigurationError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

__all__ = [
    "SUFFIX",
    "LockedFolder",
    "Turn",
    "hold_folder",
    "lock",
    "locked_folder",
    "make_folder",
    "sync",
    "system_temporary_folder",
]

SUFFIX = ".tmp"
"""How the names of these folders end; nothing below such a folder is finished."""
_KEPT = ".kept"
# What file systems over a network say where they can't flush a folder.
_UNABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS})
KEPT_SECONDS = 7 * 86_400.0
"""How long a folder is kept: a week."""
MOST_KEPT = 10
"""How many folders of one name are kept."""


class LockedFolder:
    """An empty folder of one's own, locked until `close` or the end of all who hold `lock`.

    Attributes:
        path: The folder.
        lock: A file descriptor. A child that inherits it keeps the folder too.
    """

    def __init__(self, parent: Path, name: str) -> None:
        """Make the folder in `parent`; what earlier attempts of the same name left there goes.

        Raises:
            OSError: The folder cannot be made.
        """
        _sweep(parent, name)
        while True:
            self.path = parent / f"{name}.{uuid4().hex}{SUFFIX}"
            make_folder(parent)
            try:
                self.path.mkdir(mode=0o700)
                self.lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # the parent went, or a sweep came, between two of these steps
            if _taken(self.lock) and self.path.exists():
                return
            os.close(self.lock)

    def keep(self) -> None:
        """Leave the folder to a person for some days: `close` does not remove it.

        A later sweep does, after `KEPT_SECONDS`, or when there are `MOST_KEPT` newer ones.
        """
        (self.path / _KEPT).touch()

    def close(self) -> None:
        """Remove the folder, unless it is kept, and give up the lock."""
        if not (self.path / _KEPT).exists():
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


@contextmanager
def locked_folder(parent: Path, name: str) -> Generator[Path]:
    """Yield an empty folder in `parent` that goes with the context, or with the next attempt."""
    with closing(LockedFolder(parent, name)) as folder:
        yield folder.path


class Turn:
    """The right to work in a folder while others on this computer wait for theirs.

    Where the file system has no such locks, nobody waits.

    Attributes:
        descriptor: A file descriptor. A child that inherits it, before or after `take`, keeps the
            turn as long as it lives.
    """

    def __init__(self, folder: Path) -> None:
        """Get in line; the folder must exist."""
        self._folder = folder
        self.descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def take(self, seconds: float) -> None:
        """Wait until it is one's turn.

        Raises:
            TemporaryError: Another process kept its turn for `seconds`.
        """
        if not _taken(self.descriptor, seconds):
            msg = f"another process is working in {self._folder}"
            raise TemporaryError(msg, remedy="Run the same command again when it is done.")

    def close(self) -> None:
        """Return the turn up."""
        os.close(self.descriptor)


@contextmanager
def hold_folder(folder: Path, seconds: float) -> Generator[None]:
    """Keep others on this computer out of a folder while the context lasts.

    Raises:
        TemporaryError: Another process held it for `seconds`.
    """
    with closing(Turn(folder)) as turn:
        turn.take(seconds)
        yield


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet, for good.

    Raises:
        NotADirectoryError: A file stands in its place.
        OSError: It cannot be made.
    """
    missing: list[Path] = []
    for each in (path, *path.parents):
        if each.exists():
            break
        missing.append(each)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        code = errno.ENOTDIR
        raise NotADirectoryError(code, os.strerror(code), str(path)) from error
    for each in reversed(missing):
        with suppress(FileNotFoundError):  # whoever shares it may have removed it again
            sync(each.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk: a rename alone outlives no power cut.

    Raises:
        OSError: The disk refuses. A file system that can't flush a folder is left in peace.
    """
    is_folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if is_folder:  # one may write into a folder that one may not list
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _UNABLE:
            raise
    finally:
        os.close(descriptor)


def system_temporary_folder() -> Path:
    """Return the folder that this system keeps temporary files in.

    Raises:
        ConfigurationError: There is none that can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        msg = "there is no folder for temporary files that can be written"
        raise ConfigurationError(
            msg, remedy="Make room in /tmp, or name another folder in TMPDIR."
        ) from error


def lock(descriptor: int, seconds: float = 0.0) -> bool:
    """Lock an open file or folder, waiting for it; False when another held it for `seconds`.

    The lock is given up when the last process that holds the descriptor closes it or ends. The
    library `filelock` locks no folders, and hands no descriptor to a child.

    Raises:
        OSError: The file system has no such locks.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _taken(descriptor: int, seconds: float = 0.0) -> bool:
    """Lock a folder; where the file system has no such locks, nobody else holds it either."""
    try:
        return lock(descriptor, seconds)
    except OSError:
        return True


def _sweep(parent: Path, name: str) -> None:
    """Remove the folders of attempts that are gone; what is not ours is left alone."""
    found = list(parent.glob(f"{_literal(name)}.*{SUFFIX}"))
    kept = _kept(found)
    for left in found:
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                is_ours = os.fstat(descriptor).st_uid == os.geteuid()
                if is_ours and left not in kept and lock(descriptor):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _kept(folders: Iterable[Path]) -> set[Path]:
    """Return the folders that stay for a person to look at: the newest, and none that is old."""
    ages: list[tuple[float, Path]] = []
    for folder in folders:
        with suppress(OSError):
            marker = (folder / _KEPT).lstat()
            ages.append((time.time() - marker.st_mtime, folder))
    return {folder for age, folder in sorted(ages)[:MOST_KEPT] if age < KEPT_SECONDS}


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
