"""The disk: its errors, and folders of temporary files."""

from __future__ import annotations

import errno
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.lake.temporary import locked_folder, system_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["disk_errors", "temporary_folder", "temporary_folder_in"]

# What a network's or a failing disk says, and may not say the next time.
_PASSING = frozenset({errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


@contextmanager
def disk_errors(path: Path, what: str = "written") -> Generator[None]:
    """Turn a file system's errors about `path` into ours; `what` is what it could not be."""
    try:
        yield
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        msg = f"{path} could not be {what}: {error.strerror}"
        if error.errno in _PASSING:
            raise TemporaryError(msg, remedy="Run the same command again.") from error
        if error.errno == errno.ENOTDIR:
            remedy = "Name another folder: this one is a file."
        elif error.errno == errno.ENAMETOOLONG:
            remedy = "Choose a shorter name."
        elif what == "read":
            remedy = "Let this user read the file, then run the same command again."
        else:
            remedy = "Make room, or make the folder writable, then run the same command again."
        raise ConfigurationError(msg, remedy=remedy) from error


@contextmanager
def temporary_folder(name: str) -> Generator[Path]:
    """Yield an empty folder where temporary files go; it goes with the context or the next attempt.

    Raises:
        ConfigurationError: There is no room for it.
    """
    with temporary_folder_in(system_temporary_folder(), name) as folder:
        yield folder


@contextmanager
def temporary_folder_in(parent: Path, name: str) -> Generator[Path]:
    """Yield an empty folder in `parent`; it goes with the context or the next attempt.

    Raises:
        ConfigurationError: It cannot be made.
    """
    with ExitStack() as stack:
        with disk_errors(parent):
            folder = stack.enter_context(locked_folder(parent, name))
        yield folder
