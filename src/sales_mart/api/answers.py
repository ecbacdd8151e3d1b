"""Answers as bytes in three forms, and the ones that are kept."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC
from email.utils import format_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import polars as pl

from sales_mart.api.problems import ProblemError
from sales_mart.lake.disk import temporary_folder
from sales_mart.lake.files import FORMATS, ParquetWriter, with_cents, writer
from sales_mart.schema import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from sales_mart.api.publications import Shown
    from sales_mart.api.question import HtmlPage
    from sales_mart.lake.files import FileFormat
    from sales_mart.schema import TableColumn

__all__ = [
    "HTML",
    "MEDIA_TYPES",
    "SECURITY",
    "Answer",
    "Form",
    "Kept",
    "chosen_form",
    "json_schema",
    "page_answer",
    "rendered",
]

MEDIA_TYPES: dict[FileFormat, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
HTML = "text/html"
Form: TypeAlias = 'FileFormat | Literal["html"]'
"""What an answer is written as: rows, or a page."""
_SHORTEST = 1_000
"""Bytes of an answer that is worth packing."""
_KEPT_BYTES = 64 << 20
SECURITY = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Headers of everything that is sent, but where an answer has its own."""
_KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "decimal": {"type": "number"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "boolean": {"type": "boolean"},
}


@dataclass(frozen=True)
class Answer:
    """The answer to one question, of one publication.

    Attributes:
        body: The bytes.
        packed: The same by gzip; None where that is not worth it.
        etag: What tells it from the answers to the same question of other publications, without
            the quotes.
        headers: What goes with it in any case.
    """

    body: bytes
    packed: bytes | None
    etag: str
    headers: tuple[tuple[bytes, bytes], ...]

    @property
    def size(self) -> int:
        """Bytes that it takes while it is kept."""
        return len(self.body) + len(self.packed or b"")


def rendered(
    shown: Shown,
    form: FileFormat,
    columns: Sequence[TableColumn],
    rows: Sequence[Sequence[Any]],
    following: str | None,
) -> Answer:
    """Write rows as an answer.

    Args:
        shown: The publication that they are of.
        form: What to write.
        columns: Their columns.
        rows: The rows.
        following: Where the rows behind them are; None where there are none.
    """
    told = {"Content-Type": MEDIA_TYPES[form] + ("; charset=utf-8" if form == "csv" else "")}
    if following is not None:
        told["Link"] = f'<{following}>; rel="next"'
    return _answer(shown, form, _written(form, columns, rows), told)


def page_answer(shown: Shown, page: HtmlPage) -> Answer:
    """Return a page as an answer."""
    told = {"Content-Type": f"{HTML}; charset=utf-8", "Content-Security-Policy": page.policy}
    return _answer(shown, "html", page.body, told)


def _answer(shown: Shown, form: Form, body: bytes, told: Mapping[str, str]) -> Answer:
    publication = shown.publication
    assert publication is not None  # noqa: S101 - nothing is rendered before the first one
    packed = None
    if form != "parquet" and len(body) >= _SHORTEST:
        packed = gzip.compress(body, 6, mtime=0)
    told = {
        **told,
        "Last-Modified": format_datetime(publication.published_at.astimezone(UTC), usegmt=True),
        "Sales-Mart-Run": publication.run_id,
        "Vary": "Accept, Accept-Encoding, Authorization",
    }
    headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    named = {name for name, _ in headers}
    security = [each for each in SECURITY if each[0] not in named]
    return Answer(body, packed, f"{shown.identity}-{form}", (*security, *headers))


def _written(
    form: FileFormat, columns: Sequence[TableColumn], rows: Iterable[Sequence[Any]]
) -> bytes:
    arrow = arrow_schema(columns)
    schema = pl.Schema(arrow)
    frame = pl.DataFrame(list(rows), schema, orient="row")
    if form == "csv":
        frame = with_cents(frame)
    with temporary_folder("sales-mart-api") as folder:
        path = folder / form
        is_parquet = form == "parquet"
        file = ParquetWriter(path, schema, arrow) if is_parquet else writer(form, path, schema)
        with file:
            file.write(frame)
        return path.read_bytes()


def chosen_form(accept: str) -> FileFormat:
    """Return the form that a request accepts, of several the one that it likes best.

    Raises:
        ProblemError: There is none.
    """
    best: tuple[float, int] = (0.0, 0)
    found: FileFormat | None = None
    for part in accept.split(",") if accept.strip() else ("*/*",):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = _weight(parameters)
        for number, form in enumerate(FORMATS):
            kind = MEDIA_TYPES[form]
            if media in ("*/*", f"{kind.partition('/')[0]}/*", kind):
                rank = (weight, -number)
                if weight > 0 and (found is None or rank > best):
                    best, found = rank, form
    if found is None:
        listed = ", ".join(MEDIA_TYPES.values())
        raise ProblemError(406, f"Accept names none of {listed}.")
    return found


def _weight(parameters: Sequence[str]) -> float:
    for each in parameters:
        if each.startswith("q="):
            try:
                return min(max(float(each[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def json_schema(columns: Sequence[TableColumn]) -> dict[str, Any]:
    """Return the JSON Schema of an answer with some columns."""

    def of_column(column: TableColumn) -> dict[str, Any]:
        kind = _KINDS[column.kind]
        if column.is_nullable:
            kind = {**kind, "type": [kind["type"], "null"]}
        return {**kind, "description": column.description} if column.description else kind

    row = {
        "type": "object",
        "additionalProperties": False,
        "required": [column.name for column in columns],
        "properties": {column.name: of_column(column) for column in columns},
    }
    return {"type": "array", "items": row}


class Kept:
    """Answers that are kept, those that were asked for last; so many bytes at most."""

    def __init__(self, most: int = _KEPT_BYTES) -> None:
        """Begin without any."""
        self._most = most
        self._size = 0
        self._answers: OrderedDict[Hashable, Answer] = OrderedDict()

    def get(self, key: Hashable) -> Answer | None:
        """Return an answer, if it is kept."""
        found = self._answers.get(key)
        if found is not None:
            self._answers.move_to_end(key)
        return found

    def keep(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer, and drop as many others as that takes."""
        before = self._answers.pop(key, None)
        self._size += answer.size - (before.size if before else 0)
        self._answers[key] = answer
        while self._size > self._most:
            _, dropped = self._answers.popitem(last=False)
            self._size -= dropped.size

    def drop_all(self) -> None:
        """Keep none of them any longer."""
        self._answers.clear()
        self._size = 0


def page_of(rows: Iterable[Sequence[Any]], limit: int) -> tuple[list[Sequence[Any]], bool]:
    """Return so many rows, and whether there are more."""
    found = list(islice(rows, limit + 1))
    return found[:limit], len(found) > limit
