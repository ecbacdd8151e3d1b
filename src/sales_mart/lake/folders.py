"""Working in a folder of the lake or of an export, which a bucket may stand for."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.lake.disk import disk_errors, temporary_folder, temporary_folder_in
from sales_mart.lake.storage import is_bucket
from sales_mart.lake.temporary import hold_folder, make_folder

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["held", "unfinished_files"]


@contextmanager
def unfinished_files(uri: str, name: str) -> Generator[Path]:
    """Yield an empty folder for the files of one attempt; a finished one moves by a rename.

    It stands inside of a local `uri`, which is removed if it is empty in the end; for a bucket it
    stands where temporary files go.

    Raises:
        ConfigurationError: There is no room for it.
    """
    if is_bucket(uri):
        with temporary_folder(f"sales-mart-{name.lstrip('.')}") as folder:
            yield folder
        return
    place = Path(uri)
    try:
        with temporary_folder_in(place, name) as folder:
            yield folder
    finally:
        with suppress(OSError):
            place.rmdir()


@contextmanager
def held(uri: str, seconds: float) -> Generator[None]:
    """Make a folder and keep others on this computer out of it; a bucket keeps nobody out.

    Raises:
        ConfigurationError: The folder cannot be made.
        TemporaryError: Another process was in it for `seconds`.
    """
    if is_bucket(uri):
        yield
        return
    folder = Path(uri)
    with disk_errors(folder):
        make_folder(folder)
    with hold_folder(folder, seconds):
        yield
