"""Text of any encoding into UTF-8, line by line, so that every byte of the source stays accounted.

The structure of a file is found in UTF-8. A record takes whole lines, and a line of the text is a
line of the source: so the place of each line in the source gives that of each record.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["BOM", "Codec", "Decodable", "Lines", "codec_of", "mark_of"]

BOM = codecs.BOM_UTF8
_MARKS = (
    # Longest first: the mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WITH_MARK = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}
_REPLACED = "\N{REPLACEMENT CHARACTER}".encode()
_NOT_UTF8 = b"\xff"

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lines:
    """Some whole lines in UTF-8.

    Attributes:
        text: The lines. Where one cannot be decoded, a byte that is no UTF-8 stands in it.
        places: Of each line, and of the end, the first byte in the source; None where the text is
            the source.
    """

    text: bytes
    places: Integers | None = None


@dataclass(frozen=True)
class Codec:
    """One encoding.

    Attributes:
        name: Its name in Python.
        line_feed: A line feed in it.
        unit: Bytes of the smallest piece of a character.
        is_ascii: ASCII bytes mean ASCII characters and nothing else.
    """

    name: str
    line_feed: bytes
    unit: int
    is_ascii: bool

    def first_end(self, data: bytes) -> int:
        """Return where the first line ends, behind its line feed; 0 when none does."""
        place = data.find(self.line_feed)
        while place % self.unit and place >= 0:
            place = data.find(self.line_feed, place + 1)
        return place + self.unit if place >= 0 else 0

    def last_end(self, data: bytes) -> int:
        """Return where the last line ends that ends with a line feed; 0 when none does."""
        place = data.rfind(self.line_feed)
        while place % self.unit and place >= 0:
            place = data.rfind(self.line_feed, 0, place + self.unit - 1)
        return place + self.unit if place >= 0 else 0

    def lines(self, data: bytes) -> Lines:
        """Decode whole lines."""
        if self.name == "utf-8" or (self.is_ascii and data.isascii()):
            return Lines(data)
        ends = self._ends(data)
        places = np.concatenate([np.zeros(1, np.int64), ends])
        if not len(ends) or ends[-1] != len(data):
            places = np.append(places, len(data))
        text: bytes | None = None
        # Surrogates, which UTF-16 may hold alone, are no text either.
        with contextlib.suppress(UnicodeError):
            text = data.decode(self.name).encode()
        if text is None or text.count(b"\n") != len(ends):
            text = b"".join(self._line(data[a:b]) for a, b in pairwise(places.tolist()))
        return Lines(text, places)

    def _ends(self, data: bytes) -> Integers:
        if self.unit == 1:
            found = np.flatnonzero(np.frombuffer(data, np.uint8) == self.line_feed[0])
            return found.astype(np.int64) + 1
        order = ">" if self.line_feed[-1] else "<"
        whole = data[: len(data) - len(data) % self.unit]
        units = np.frombuffer(whole, f"{order}u{self.unit}")
        return (np.flatnonzero(units == ord("\n")).astype(np.int64) + 1) * self.unit

    def _line(self, line: bytes) -> bytes:
        """Decode one line, or mark it as one that cannot be decoded."""
        end = self.unit if self.first_end(line) else 0
        body = line[: len(line) - end]
        feed = b"\n" if end else b""
        try:
            text = body.decode(self.name).encode()
        except UnicodeError:
            shown = body.decode(self.name, "replace").encode("utf-8", "replace")
            text = _NOT_UTF8 + shown.replace(_REPLACED, _NOT_UTF8)
        return text.replace(b"\n", b" ") + feed


def mark_of(start: bytes) -> tuple[bytes, str] | None:
    """Return the byte order mark that bytes begin with, and the encoding that it stands for."""
    return next(((mark, name) for mark, name in _MARKS if start.startswith(mark)), None)


@lru_cache(maxsize=64)
def codec_of(name: str) -> Codec:
    """Return a codec by the name that Python has for it; of UTF-16 alone the little-endian one."""
    known = _WITH_MARK.get(codecs.lookup(name).name, codecs.lookup(name).name)
    feed = "\n".encode(known)
    printable = bytes(range(128))
    try:
        is_ascii = printable.decode(known) == printable.decode("ascii")
    except UnicodeError:
        is_ascii = False
    # Other bytes than those of ASCII may hold them as their second half, or switch what they mean.
    is_stateful = re.match("iso2022|hz", known) is not None
    return Codec(known, feed, len(feed), is_ascii and len(feed) == 1 and not is_stateful)


class Decodable:
    """Tells whether bytes that come in pieces can be decoded.

    Attributes:
        holds: Those that came so far can.
    """

    def __init__(self, encoding: str) -> None:
        """Take the name of the encoding."""
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self.holds = True

    def feed(self, piece: bytes, *, final: bool = False) -> None:
        """Take the next bytes."""
        try:
            if self.holds:
                self._decoder.decode(piece, final)
        except UnicodeError:
            self.holds = False

    def ends_well(self) -> bool:
        """Tell it, when no more bytes come."""
        self.feed(b"", final=True)
        return self.holds
