"""Pages of one file each: a template, and a style and a script of our own that stand in it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sales_mart.report import texts
from sales_mart.report.pictures import share

__all__ = ["inline", "page_of"]


def page_of(template: str, **values: Any) -> bytes:
    """Return a page as UTF-8 bytes: the same values give the same bytes."""
    return _environment().get_template(template).render(**values).encode()


def inline(*names: str) -> tuple[Markup, str]:
    """Return files of our own as one text, and what a Content-Security-Policy allows it by."""
    text = "".join(map(_source, names))
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"'sha256-{digest}'"  # noqa: S704 - our own files


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sales_mart.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        {
            "bytes": texts.size,
            "day": texts.day,
            "money": texts.money,
            "month": partial(texts.month, short=False),
            "plain": texts.plain,
            "whole": texts.whole,
        }
    )
    functions: dict[str, Any] = {
        "command": texts.command,
        "count": texts.count,
        "of": texts.percentage,
        "share": share,
    }
    made.globals.update(functions)
    return made


@cache
def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None  # noqa: S101 - set just above
    return environment.loader.get_source(environment, name)[0]
