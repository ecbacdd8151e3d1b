"""A file that has to be read from several places at once, as one on the local disk."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from sales_mart.lake.disk import disk_errors, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["spooled"]

_CHUNK_BYTES = 1 << 20


@contextmanager
def spooled(stream: BinaryIO) -> Generator[Path]:
    """Copy a stream into a private temporary file, which goes with the context.

    So what is read is what the digest of the stream is of.

    Raises:
        ConfigurationError: There is no room for it.
    """
    with temporary_folder("sales-mart-source") as folder:
        path = folder / "file"
        with path.open("xb") as file:
            while piece := stream.read(_CHUNK_BYTES):
                with disk_errors(path):
                    file.write(piece)
            with disk_errors(path):
                file.flush()
        yield path
