"""One thing that can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sales_mart.api.publications import Shown
    from sales_mart.schema import TableColumn
    from sales_mart.warehouses.base import Session

__all__ = ["HtmlPage", "Question"]


class HtmlPage(NamedTuple):
    """A page.

    Attributes:
        body: The page as UTF-8.
        policy: Its Content-Security-Policy.
    """

    body: bytes
    policy: str


def _no_rows(*_: object) -> tuple[()]:
    return ()


class Question(NamedTuple):
    """What one path of the API answers.

    Attributes:
        path: The path.
        title: What it answers, for people.
        parameters: Model of its parameters.
        columns: The columns of the answer.
        rows: Asks a session for the rows, `limit` and one more at most. It is given the session,
            the publication, the parameters, and what stands in the path.
        in_path: Type of what stands in the path, by name.
        page: Makes a page in place of rows, from the session, what is shown and the parameters.
    """

    path: str
    title: str
    parameters: type[BaseModel]
    columns: tuple[TableColumn, ...] = ()
    rows: Callable[..., Iterable[Sequence[Any]]] = _no_rows
    in_path: Mapping[str, Any] = {}
    page: Callable[[Session, Shown, Any], HtmlPage] | None = None
