"""Answers of one publication each: asked once, however many want them, and then kept."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from sales_mart.api.answers import Answer, Form, Kept, page_answer, page_of, rendered
from sales_mart.api.problems import ProblemError
from sales_mart.api.publications import Publications, Shown, read_shown
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.warehouses.frames import exact
from sales_mart.warehouses.history import latest_publication

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from sales_mart.api.metrics import Metrics
    from sales_mart.api.question import Question
    from sales_mart.config.api import Api
    from sales_mart.warehouses.base import Session, Warehouse

__all__ = ["Service"]

R = TypeVar("R")
_ATTEMPTS = 3
_AGAIN_SECONDS = 1
_BUSY = "Too many questions wait. Ask again."
_WAITING = 8
"""Questions that may wait for each that the warehouse works on."""


@dataclass(frozen=True)
class _Wanted:
    """A question with all that decides its answer, but for the publication."""

    question: Question = field(compare=False)
    asked: Any
    in_path: tuple[str, ...]
    form: Form
    path: str = ""

    def __post_init__(self) -> None:
        path = self.question.path
        for name, value in zip(self.question.in_path, self.in_path, strict=True):
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        object.__setattr__(self, "path", path)

    def following(self) -> str:
        """Return where the next page is."""
        given: dict[str, Any] = self.asked.model_dump(by_alias=True, exclude_unset=True)
        given["offset"] = self.asked.offset + self.asked.limit
        return f"{self.path}?{urlencode(given)}"


class Service:
    """What the routes answer by.

    Attributes:
        warehouse: The warehouse.
        publications: What it shows.
    """

    def __init__(self, warehouse: Warehouse, limits: Api, metrics: Metrics) -> None:
        """Take a warehouse; nothing is opened yet."""
        self.warehouse = warehouse
        self._limits = limits
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(limits.max_queries, "sales-mart-query")
        self._checks = ThreadPoolExecutor(1, "sales-mart-check")
        self._kept = Kept()
        self._under_way: dict[Hashable, asyncio.Task[Answer]] = {}
        self.publications = Publications(self._ask_what_is_shown, limits.refresh_seconds)

    def close(self) -> None:
        """Take no more questions."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._checks.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self, question: Question, asked: Any, in_path: tuple[str, ...], form: Form
    ) -> Answer:
        """Answer a question.

        Raises:
            ProblemError: There is no answer, or not now.
        """
        shown = await self.publications.current()
        if shown.publication is None:
            raise ProblemError(
                503,
                "Nothing has been published yet.",
                retry_after=self._limits.refresh_seconds,
            )
        wanted = _Wanted(question, asked, in_path, form)
        found = self._kept.get((shown.identity, wanted))
        if found is not None:
            return found
        if self.publications.is_away:
            raise self.publications.away()
        task = self._under_way.get(wanted)
        if task is None:
            if len(self._under_way) >= self._limits.max_queries * _WAITING:
                raise ProblemError(503, _BUSY, retry_after=_AGAIN_SECONDS)
            task = asyncio.create_task(self._ask(wanted))
            self._under_way[wanted] = task
            task.add_done_callback(lambda done: self._end(wanted, done))
        # Who has gone must not take the answer from the others.
        return await asyncio.shield(task)

    def _end(self, wanted: _Wanted, done: asyncio.Task[Answer]) -> None:
        del self._under_way[wanted]
        if not done.cancelled():
            done.exception()  # all who waited for it may have gone

    async def _ask(self, wanted: _Wanted) -> Answer:
        self._metrics.queries.inc()
        try:
            shown, answer = await self._in_time(self._pool, lambda: self._made(wanted))
        except (ConfigurationError, TemporaryError) as error:
            # Whether the warehouse is away, or this question alone takes too long, is asked apart.
            self.publications.doubt(error)
            detail = "This cannot be answered now. Ask again later."
            raise ProblemError(503, detail, retry_after=_AGAIN_SECONDS) from None
        self._kept.keep((shown.identity, wanted), answer)
        self.publications.note(shown)
        return answer

    async def _ask_what_is_shown(self) -> Shown:
        return await self._in_time(self._checks, self._read_shown)

    async def _in_time(self, pool: ThreadPoolExecutor, ask: Callable[[], R]) -> R:
        """Wait for a question; a thread that takes longer ends by the warehouse's own limits."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.query_seconds):
                return await loop.run_in_executor(pool, ask)
        except TimeoutError:
            msg = f"{self.warehouse.title} took longer than {self._limits.query_seconds} seconds"
            raise TemporaryError(msg, remedy="Raise api.query_seconds, or ask for less.") from None

    def _read_shown(self) -> Shown:
        with self.warehouse.reader() as session:
            return read_shown(session, self.publications.shown)

    def _made(self, wanted: _Wanted) -> tuple[Shown, Answer]:
        """Ask the warehouse, in a thread, for rows that are of one publication."""
        with self.warehouse.reader() as session:
            for _ in range(_ATTEMPTS):
                shown = read_shown(session, self.publications.shown)
                if shown.publication is None:
                    break
                answer = self._made_of(session, shown, wanted)
                # Where a session is no snapshot.
                if latest_publication(session) == shown.publication:
                    return shown, answer
        msg = f"{self.warehouse.title} shows another publication each time"
        raise TemporaryError(msg, remedy="Ask again.")

    def _made_of(self, session: Session, shown: Shown, wanted: _Wanted) -> Answer:
        question, asked = wanted.question, wanted.asked
        if question.page is not None:
            return page_answer(shown, question.page(session, shown, asked))
        assert wanted.form != "html"  # noqa: S101 - which is a page's alone
        found = question.rows(session, shown.publication, asked, *wanted.in_path)
        rows, has_more = page_of(exact(question.columns, found), asked.limit)
        following = wanted.following() if has_more else None
        return rendered(shown, wanted.form, question.columns, rows, following)
