"""What the warehouse shows now: asked for seldom, and kept while the warehouse is away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING

from sales_mart import __version__
from sales_mart.api.problems import ProblemError, away
from sales_mart.api.runs import rejects_of
from sales_mart.errors import SalesMartError
from sales_mart.warehouses.history import latest_publication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sales_mart.warehouses.base import Session
    from sales_mart.warehouses.history import Publication

__all__ = ["Publications", "Shown", "read_shown"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What readers see.

    Attributes:
        publication: The publication; None before the first one.
        rejects: Rejected rows of its run, by reason.
        began: When it was asked for, by the clock that never goes back.
    """

    publication: Publication | None
    rejects: dict[str, int] = field(default_factory=dict[str, int])
    began: float = field(default=0.0, compare=False)

    @cached_property
    def identity(self) -> str:
        """What tells it from every other publication; it begins with the number of the load."""
        found = self.publication
        if found is None:
            return "none"
        moment = found.published_at.astimezone(UTC).isoformat()
        told = [__version__, found.mart_rules_digest, found.run_id, moment]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return f"{found.sequence}-{digest[:16]}"


def read_shown(session: Session, known: Shown | None) -> Shown:
    """Ask a warehouse what it shows; `known` is what it showed before."""
    began = time.monotonic()
    found = latest_publication(session)
    if known is not None and found == known.publication:
        return replace(known, began=began)
    rejects = {} if found is None else rejects_of(session, found.sequence)
    return Shown(found, rejects, began)


class Publications:
    """What is shown: at most so many seconds old, unless the warehouse is away.

    Halfway through this time the next request has it asked for anew, and does not wait for it.

    Attributes:
        shown: What was shown when the warehouse answered last; None before that.
    """

    def __init__(self, read: Callable[[], Awaitable[Shown]], seconds: float) -> None:
        """Take what asks the warehouse."""
        self._read = read
        self._seconds = seconds
        self._retry_at = 0.0
        self._check: asyncio.Task[None] | None = None
        self.shown: Shown | None = None
        self.is_away = False

    @property
    def age(self) -> float:
        """Seconds since the warehouse was asked with success."""
        return time.monotonic() - self.shown.began if self.shown else float("inf")

    def known(self) -> Shown | None:
        """Return what is shown if nobody has to wait for it; None otherwise."""
        age = self.age
        if age >= self._seconds / 2:
            self._start()
        return self.shown if self.is_away or age < self._seconds else None

    async def current(self) -> Shown:
        """Return what is shown, or was when the warehouse answered last.

        Raises:
            ProblemError: The warehouse is away and has not answered yet.
        """
        found = self.known()
        if found is None and (check := self._start()) is not None:
            await asyncio.shield(check)
        found = found or self.shown
        if found is None:
            raise self.away()
        return found

    def note(self, shown: Shown) -> None:
        """Take what another question has found out, unless something newer is known."""
        if self.shown is None or shown.began >= self.shown.began:
            if shown != self.shown:
                _log.info("showing publication %s", shown.identity)
            self.shown = shown
            self.is_away = False

    def doubt(self, error: SalesMartError) -> None:
        """See whether the warehouse is still there, after a question that it did not answer."""
        _tell(error)
        self._start()

    def away(self) -> ProblemError:
        """Return the answer while the warehouse is away."""
        return away(self._retry_at - time.monotonic())

    def _start(self) -> asyncio.Task[None] | None:
        """Ask the warehouse, unless it is asked already or was away a moment ago."""
        if self._check is None and (not self.is_away or time.monotonic() >= self._retry_at):
            self._check = asyncio.create_task(self._ask())
        return self._check

    async def _ask(self) -> None:
        try:
            self.note(await self._read())
        except Exception as error:  # noqa: BLE001 - whatever it is, the API goes on
            self._retry_at = time.monotonic() + self._seconds
            if not self.is_away:
                _tell(error)
            self.is_away = True
        finally:
            self._check = None


def _tell(error: Exception) -> None:
    if isinstance(error, SalesMartError):
        extra = {"remedy": error.remedy, "details": error.details}
        _log.error("%s", error.message, extra=extra)
    else:
        _log.error("unexpected %s", type(error).__name__, exc_info=error)
