"""Texts that look alike: one form for each, and the characters that nobody sees.

`é` is one character or two, and a zero-width space is one that no reader sees. Without care
they make two identifiers, or two products, of one.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "INVISIBLE",
    "WHITE_SPACE",
    "all_visible",
    "holds_invisible",
    "nfc",
    "normalised",
    "seems_alike",
]

WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters with the Unicode property White_Space, which is what is stripped."""

_JOINERS = ((0x200C, 0x200D), (0xFE00, 0xFE0F), (0xE0020, 0xE007F), (0xE0100, 0xE01EF))
"""ZWNJ and ZWJ spell words of Persian and Hindi, the others are part of emoji and of Han."""
_SEEN = (
    *((0x0600, 0x0605), (0x06DD, 0x06DD), (0x0890, 0x0891), (0x08E2, 0x08E2)),
    *((0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F)),
)
"""Format characters that have a shape."""
_UNSEEN = (
    *((0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x070F, 0x070F), (0x115F, 0x1160)),
    *((0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E)),
    *((0x2060, 0x206F), (0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB)),
    *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE001F), (0xE0080, 0xE00FF)),
    (0xE01F0, 0xE0FFF),
)


def _characters(*groups: tuple[tuple[int, int], ...]) -> str:
    """Write a set of characters as Python and Rust both read it in a regular expression."""
    pairs = (f"{chr(first)}-{chr(last)}" for group in groups for first, last in group)
    return f"[{''.join(pairs)}]"


INVISIBLE = _characters(_JOINERS, _SEEN, _UNSEEN)
"""The Unicode category Cf, format characters, and whatever else is Default_Ignorable_Code_Point.

Written out, since Python and Polars follow different versions of Unicode.
"""
_ALIKE = _characters(_UNSEEN)


def nfc(text: str) -> str:
    """Return the text in Unicode's normal form C."""
    return unicodedata.normalize("NFC", text)


def _beyond_ascii(texts: pl.Series) -> pl.Series:
    """Return the positions of the texts that are more than ASCII: quick, and they are few."""
    return (texts.str.len_bytes() != texts.str.len_chars()).arg_true()


def normalised(text: pl.Expr) -> pl.Expr:
    """Return a column of texts in Unicode's normal form C."""
    return text.map_batches(_normalised, is_elementwise=True)


def _normalised(texts: pl.Series) -> pl.Series:
    rows = _beyond_ascii(texts)
    return texts.clone().scatter(rows, texts.gather(rows).str.normalize("NFC"))


def holds_invisible(text: str) -> bool:
    """Return whether a text holds a character that an identifier must not have."""
    return re.search(INVISIBLE, text) is not None


def all_visible(text: pl.Expr) -> pl.Expr:
    """Tell the same of a column, the other way round."""
    import polars as pl

    return text.map_batches(_all_visible, return_dtype=pl.Boolean(), is_elementwise=True)


def _all_visible(texts: pl.Series) -> pl.Series:
    import polars as pl

    rows = _beyond_ascii(texts)
    hidden = rows.filter(texts.gather(rows).str.contains(INVISIBLE))
    return pl.repeat(value=True, n=len(texts), eager=True).scatter(hidden, values=False)


def seems_alike(texts: pl.Series) -> int:
    """Count the texts that look like another one for a character that nobody sees.

    The characters that some scripts and emoji are spelled with do not count.
    """
    return int(texts.gather(_beyond_ascii(texts)).str.contains(_ALIKE).sum())
