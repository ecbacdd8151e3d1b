"""Text that a terminal only shows: nothing in it moves the cursor, colours, or turns a line round.

Names of products, files and columns come from elsewhere. Whoever wrote them must not be able to
draw on the screen, or in the log, of whoever reads them.
"""

from __future__ import annotations

import json
import re

__all__ = ["escape_control_characters", "escape_json"]

_BEYOND_ASCII = (
    "\x7f-\x9f"  # DELETE and the second set of control characters; \x9b begins a sequence
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of what follows
    "\u2028\u2029"  # are line ends to some
    "\ud800-\udfff"  # have no encoding
)
_UNSEEN = re.compile(f"[\x00-\x09\x0b-\x1f{_BEYOND_ASCII}]")
_UNSEEN_OR_LINE_END = re.compile(f"[\x00-\x1f{_BEYOND_ASCII}]")
_UNSEEN_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")


def escape_control_characters(text: str, *, on_one_line: bool = False) -> str:
    r"""Write what cannot be seen as an escape, such as `\x1b` or `\u202e`."""
    unseen = _UNSEEN_OR_LINE_END if on_one_line else _UNSEEN
    return unseen.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_json(document: object, *, indent: int | None = None, only_ascii: bool = False) -> str:
    """Write JSON that reads back the same; what cannot be seen stands in it as an escape."""
    text = json.dumps(document, indent=indent, default=str, ensure_ascii=only_ascii)
    return _UNSEEN_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)
