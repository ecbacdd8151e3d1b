"""One thing that can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sales_mart.api.parameters import Page
    from sales_mart.schema import TableColumn

__all__ = ["Question"]


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
    """

    path: str
    title: str
    parameters: type[Page]
    columns: tuple[TableColumn, ...]
    rows: Callable[..., Iterable[Sequence[Any]]]
    in_path: Mapping[str, Any] = {}
