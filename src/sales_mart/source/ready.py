"""Whether a delivery is whole: a marker beside its files, or time since they changed last."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sales_mart.lake.bucket import split_address
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.storage import is_bucket, open_bucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sales_mart.config.model import DataLake
    from sales_mart.source.listing import Listed

__all__ = ["Readiness", "not_ready"]

_FILE_MARK = "{file}"


@dataclass(frozen=True)
class Readiness:
    """What must be so before a file is read.

    Attributes:
        marker: Name of the file that says that a delivery is whole, in the folder of each of its
            files, or with `{file}` in it beside each file. None: no such file is asked for.
        minimum_age: Seconds for which a file must not have changed.
    """

    marker: str | None = None
    minimum_age: int = 0

    @classmethod
    def of(cls, lake: DataLake) -> Readiness:
        """Return what a configuration asks for."""
        return cls(lake.ready_marker, lake.minimum_age)

    @property
    def is_asked(self) -> bool:
        """Whether anything is asked for."""
        return self.marker is not None or self.minimum_age > 0

    def is_marker(self, name: str) -> bool:
        """Return whether a file of this name is a marker, and no data."""
        if self.marker is None:
            return False
        pattern = re.escape(self.marker).replace(r"\{file\}", ".+")
        return re.fullmatch(pattern, name, re.DOTALL) is not None

    def marker_of(self, uri: str) -> str:
        """Return where the marker of an object has to stand."""
        folder, slash, name = uri.rpartition("/")
        return folder + slash + (self.marker or "").replace(_FILE_MARK, name)


def not_ready(objects: Sequence[Listed], readiness: Readiness) -> dict[str, str]:
    """Return the objects that may not be read yet, each with the reason.

    The age of an object in a bucket is told by the server's clock, which also stamped it.

    Raises:
        ConfigurationError: A folder or bucket may not be read.
        TemporaryError: The storage does not answer.
    """
    found: dict[str, str] = {}
    if readiness.minimum_age:
        clocks = {where: _now(where) for where in {_bucket(each.uri) for each in objects}}
        for each in objects:
            age = clocks[_bucket(each.uri)] - each.modified
            if age < readiness.minimum_age:
                found[each.uri] = f"changed {max(0, int(age))} s ago"
    if readiness.marker is not None:
        markers = {each.uri: readiness.marker_of(each.uri) for each in objects}
        there = _existing(markers.values())
        lacking = {uri: marker for uri, marker in markers.items() if marker not in there}
        found |= {uri: f"without {Path(marker).name}" for uri, marker in lacking.items()}
    return found


def _bucket(uri: str) -> str:
    """Return what has a clock of its own: a bucket, or nothing for the disk."""
    return "://".join(split_address(uri)[:2]) if is_bucket(uri) else ""


def _now(bucket: str) -> float:
    return open_bucket(bucket).now() if bucket else time.time()


def _existing(markers: Iterable[str]) -> set[str]:
    """Return the markers that are there. A bucket is asked once for each folder."""
    wanted = set(markers)
    found: set[str] = set()
    for marker in wanted:
        if not is_bucket(marker):
            path = Path(marker)
            with suppress(FileNotFoundError), disk_errors(path, "read"):
                path.stat()
                found.add(marker)
    for folder in {marker.rpartition("/")[0] for marker in wanted if is_bucket(marker)}:
        found.update(f"{folder}/{each.name}" for each in open_bucket(folder).objects(direct=True))
    return found & wanted
