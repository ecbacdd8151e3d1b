"""The lake: `<lake>/runs/<run_id>/` holds one run's records and Parquet parts."""

from __future__ import annotations

import hashlib
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from sales_mart.errors import ConfigurationError, SourceChangedError
from sales_mart.lake.disk import disk_errors
from sales_mart.lake.folders import held, unfinished_files
from sales_mart.lake.records import Part, Record
from sales_mart.lake.storage import Storage, open_storage

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["RunFolder"]

R = TypeVar("R", bound=Record)

_ANEW = "Start a new run with a new id."
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunFolder:
    """One run's folder of the lake.

    Attributes:
        run_id: The run's name.
        lake: The lake's storage.
    """

    def __init__(self, lake: Storage | str, run_id: str) -> None:
        """Open the folder of `run_id`, which need not exist yet.

        Raises:
            ConfigurationError: `run_id` is not a safe name.
        """
        if not _RUN_ID.fullmatch(run_id):
            msg = f"run id {run_id[:100]!r} is not a safe name"
            raise ConfigurationError(
                msg, remedy="Use up to 100 letters, digits, points, underscores and hyphens."
            )
        self.run_id = run_id
        self.lake: Storage = open_storage(lake) if isinstance(lake, str) else lake

    @property
    def uri(self) -> str:
        """Path or bucket address of the folder."""
        return f"{self.lake.uri}/runs/{self.run_id}"

    def name(self, name: str) -> str:
        """Return the name within the lake of a file of this run."""
        return f"runs/{self.run_id}/{name}"

    def write(self, step: str, record: Record, *, create: bool = False) -> None:
        """Write the record of a step as `<step>.json`.

        Raises:
            FileExistsError: `create` is set and the step has a record already.
        """
        self.lake.write(self.name(f"{step}.json"), record.to_json(), create=create)

    def forget(self, *steps: str) -> None:
        """Delete the records of steps whose work is about to be done anew."""
        for step in steps:
            self.lake.delete(self.name(f"{step}.json"))

    def find(self, step: str, kind: type[R]) -> R | None:
        """Read the record of a step; None when it has not been there.

        Raises:
            ConfigurationError: The file is not a record of this version.
        """
        try:
            data = self.lake.read(self.name(f"{step}.json"))
        except FileNotFoundError:
            return None
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            msg = f"{self.uri}/{step}.json is not a record that this version can read"
            raise ConfigurationError(
                msg, remedy="Use the version that wrote it, or start a run with a new id."
            ) from error

    def read(self, step: str, kind: type[R]) -> R:
        """Read the record of a step that must have been there.

        Raises:
            ConfigurationError: There is no such record.
        """
        record = self.find(step, kind)
        if record is None:
            msg = f"run {self.run_id} has no record of {step!r} in {self.uri}"
            raise ConfigurationError(
                msg, remedy=f"Run `sales-mart {step.partition('-')[0]}` for it first."
            )
        return record

    def check_digest(self, planned: str, now: str) -> None:
        """Check that the configuration is still the one that the run was planned under.

        Args:
            planned: Digest of the plan's configuration.
            now: Digest of this configuration.

        Raises:
            ConfigurationError: They differ.
        """
        if planned != now:
            msg = f"run {self.run_id} was planned under another configuration"
            raise ConfigurationError(
                msg, remedy="Use the configuration of the plan, or start a new run."
            )

    def temporary(self, step: str) -> AbstractContextManager[Path]:
        """Return an empty folder for the files of one attempt, which goes with the context.

        Beside a local lake it stands inside the run, so that what a killed attempt left is found
        and removed by the next one, and a finished file moves by a rename. An attempt holds a lock
        as long as it lives: its process number would say nothing to a pod on another machine.
        """
        return unfinished_files(f"{self.uri}/temporary", step)

    def alone(self, seconds: float, part: str = "") -> AbstractContextManager[None]:
        """Keep others on this computer out of the run, or of a part of it, in the context.

        A bucket keeps nobody out.

        Raises:
            ConfigurationError: The folder cannot be made.
            TemporaryError: Another process was in it for `seconds`.
        """
        return held(f"{self.uri}/{part}", seconds)

    def put_part(self, name: str, path: Path, rows: int) -> Part:
        """Move a finished Parquet file into the run and describe it.

        The file's name ends in digits of its digest: whatever a later attempt writes, it does not
        take the place of a part that was sealed. Who reads by name alone, as a load job from a
        bucket does, gets that part or none.
        """
        with disk_errors(path, "read"):
            size = path.stat().st_size
        digest = _digest(path)
        part = Part(name=f"{name}-{digest[:16]}.parquet", rows=rows, size=size, sha256=digest)
        self.lake.put(self.name(part.name), path)
        return part

    @contextmanager
    def sealed_part(self, part: Part, *, checked: bool = False) -> Generator[Path]:
        """Yield a part as a local path, after its digest has been checked.

        Args:
            part: The part.
            checked: This process has checked the digest before.

        Raises:
            SourceChangedError: The part is gone, or is not the file that was sealed.
        """
        with ExitStack() as stack:
            # A file that is missing to whoever works with the part is another matter.
            try:
                path = stack.enter_context(self.lake.local(self.name(part.name)))
                same = checked or _digest(path) == part.sha256
            except FileNotFoundError as error:
                msg = f"{part.name} of run {self.run_id} is gone"
                raise SourceChangedError(msg, remedy=_ANEW) from error
            if not same:
                msg = f"{part.name} of run {self.run_id} is not the file that was sealed"
                raise SourceChangedError(msg, remedy=_ANEW)
            yield path


def _digest(path: Path) -> str:
    with disk_errors(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
