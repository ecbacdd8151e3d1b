"""The corpus of hostile files: how each is made, and what must come of it.

The files are made, not kept: a table can be read, and nothing binary stands in the repository.
Outcomes are worked out by hand. `CANARY` stands in for identifiers wherever one could leak.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CANARY", "CORPUS", "HEAVY", "NAME", "RULES", "Counted", "Hostile", "Refused"]

CANARY = "canary-4711"
NAME = "canaryofletters"
LETTERS = f"{NAME}-a,{NAME}-b,{NAME}-c\n".replace("-", "").encode()
RULES = {"product_prefix": "Halal", "min_price": "10"}
"""The rules under which the corpus is checked."""

HEADER = b"transaction_id,product,price,quantity,date\n"
BOM = b"\xef\xbb\xbf"
MIB = 1 << 20


class Refused(NamedTuple):
    """The file is no input: exit code 65, and a message that names file and line."""

    says: str
    line: int | None = 1


class Counted(NamedTuple):
    """The file is an input: so many rows are valid, and so many are rejected for each reason."""

    valid: int
    reasons: dict[str, int] = {}  # noqa: RUF012 - a default that nobody changes
    quarantined: int | None = None

    @property
    def rejected(self) -> int:
        """Rows in quarantine; said only where some have several reasons."""
        return sum(self.reasons.values()) if self.quarantined is None else self.quarantined


class Hostile(NamedTuple):
    """One file of the corpus."""

    name: str
    outcome: Refused | Counted
    make: Callable[[], bytes]
    suffix: str = ".csv"


def row(  # noqa: PLR0913 - the five fields
    number: int,
    product: str = "Halal Mouse",
    price: str = "20.00",
    quantity: str = "1",
    date: str = "2023-10-01",
    identifier: str = CANARY,
) -> bytes:
    """Write one record; valid unless told otherwise."""
    return f"{identifier}-{number},{product},{price},{quantity},{date}\n".encode()


def field(name: str, *texts: str) -> Callable[[], bytes]:
    """Make a file with one row per text of a field, and a valid row behind them."""

    def make() -> bytes:
        rows = [row(number, **{name: text}) for number, text in enumerate(texts)]  # pyright: ignore[reportArgumentType]
        return HEADER + b"".join(rows) + row(len(rows))

    return make


def only(data: bytes) -> Callable[[], bytes]:
    """Make a file of these bytes."""
    return lambda: data


def body(*pieces: bytes) -> Callable[[], bytes]:
    """Make a file of a good header, these bytes, and a valid row."""
    return lambda: HEADER + b"".join(pieces) + row(99)


def _text(encoding: str) -> Callable[[], bytes]:
    return lambda: (HEADER + row(1) + row(2)).decode().encode(encoding)


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("xl/worksheets/sheet1.xml", HEADER + row(1))
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"transaction_id": [CANARY], "product": ["Halal"]}), out)
    return out.getvalue()


def _bomb(unit: bytes, mib: int, pack: Callable[[bytes], bytes] = gzip.compress) -> bytes:
    return pack(HEADER + row(1) + unit * (mib * MIB // len(unit)) + b"\n" + row(2))


def _open_bomb() -> bytes:
    """A quote that nobody closes within the longest record, so that each line counts again."""
    return gzip.compress(HEADER + row(1) + b'"\n' + (b"x" * 1023 + b"\n") * 2 * 8192 + row(2))


def _endless_bomb() -> bytes:
    """Unpack to more than a run may have, in one record."""
    frame = zstd.compress(bytes(64 * MIB))
    return zstd.compress(HEADER + row(1)) + frame * 20 + zstd.compress(b"\n" + row(2))


GOOD = HEADER + row(1) + row(2)
PACKED = gzip.compress(GOOD * 50)
FRAME = zstd.compress(GOOD * 50)
DAMAGED = "the compressed data is cut short or damaged"
NO_HEADER = "no header was found"
NOT_TEXT = "the file is not text in UTF-8"
WRONG_NUMBERS = (
    *("1e3", "2E1", "1E+2", "20e0", "NaN", "nan", "inf", "-inf", "Infinity", "-20", "+20", "-0"),
    *("0x14", "0b1", "0o7", "1_000", "1 000", "1'000", "20$", "$20", "€20", "20.00 EUR", "1/2"),
    *(
        "٢٠",
        "۲۰",
        "２０",
        "𝟐𝟎",
        "२०",
        "①",
        "Ⅻ",
        "²0",
        "½",
        "20٫00",
        "2\u200b0",
        "20\u202e",
        "\ufeff20",
    ),
    *("20..0", "2.0.0", ".", "20.", ".5", "--20", "20-", "=20", "TRUE", "null", "None", "#N/A"),
)
WRONG_DATES = (
    *("2023-02-29", "1900-02-29", "2100-02-29", "2023-02-30", "2023-04-31", "2023-13-01"),
    *("2023-00-01", "2023-01-00", "0000-01-01", "0000-02-29", "10000-01-01", "-001-01-01"),
    *("2023-1-5", "20231001", "01-10-2023", "10/01/2023", "2023/10/01", "2023-10-01T00:00"),
    *(
        "2023-10-01Z",
        "2023-W40-1",
        "2023-274",
        "1696118400",
        "45200",
        "２０２３-10-01",
        "٢٠٢٣-10-01",
    ),
    *("2023‐10‐01", "2023–10–01", "2023-10-0l", "today", "2023-10-01\u200f", "\u202a2023-10-01"),
)
RIGHT_DATES = ("2024-02-29", "2000-02-29", "0004-02-29", "0001-01-01", "9999-12-31", "1970-01-01")
LOOKALIKES = (
    *("Нalal", "Hаlal", "Halаl", "Ηalal", "Ｈalal", "ℋalal", "𝐇alal", "Haⅼal", "Ha1al", "HaIal"),
    *("halal", "HALAL", "\u200bHalal", "\u200eHalal", "\u202eHalal", "\ufeffHalal", "\u2060Halal"),
    *("H\u0301alal", "Ha\u00adlal", "H\u200dalal", "Hala", "'Halal", "=Halal", "\x1b[1mHalal"),
)
"""Cyrillic, Greek, full-width, mathematical and zero-width: none of them starts with `Halal`."""
FORMULAS = ("=1+1", "+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0", "=HYPERLINK(A1)")

ENCODINGS = [
    Hostile("utf-16 little-endian", Refused(NOT_TEXT), _text("utf-16-le")),
    Hostile("utf-16 big-endian", Refused(NOT_TEXT), _text("utf-16-be")),
    Hostile("EBCDIC", Refused(NO_HEADER), _text("cp500")),
    Hostile("utf-7 is ASCII here", Counted(2), _text("utf-7")),
    Hostile(
        "latin-1 in one row of three",
        Counted(2, {"encoding": 1}),
        body(row(1), row(2, "Halal Caf\u00e9").decode().encode("latin-1")),
    ),
    Hostile(
        "windows-1252, Shift-JIS and GB18030 beside UTF-8",
        Counted(4, {"encoding": 3}),
        body(
            row(1, "Halal \u20ac").decode().encode("cp1252"),
            row(2, "Halal \u8868").decode().encode("shift-jis"),
            row(3, "Halal \u20ac").decode().encode("gb18030"),
            row(4, "Halal \u20ac\u8868"),
            row(5) + row(6),
        ),
    ),
    Hostile(
        "overlong, surrogate, beyond the last plane, cut",
        Counted(6, {"encoding": 5}),
        body(
            *(
                row(n, "Halal {}").replace(b"{}", wrong)
                for n, wrong in enumerate(
                    (b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80")
                )
            ),
            *(row(n) for n in range(5, 10)),
        ),
    ),
    Hostile(
        "cut within a character at the end of the file",
        Counted(1, {"encoding": 1}),
        only(HEADER + row(1) + row(2, date="2023-10-0\u20ac")[:-2]),
    ),
    Hostile("a mark", Counted(2), only(BOM + GOOD)),
    Hostile("two marks", Refused("a second byte order mark"), only(BOM + BOM + GOOD)),
    Hostile("a mark and nothing else", Counted(0), only(BOM)),
    Hostile("a mark before quotes", Counted(2), only(BOM + b'"transaction_id"' + GOOD[14:])),
    Hostile(
        "a second file behind the first, mark and header too",
        Counted(
            3,
            {
                "transaction_id_format": 1,
                "product_prefix": 1,
                "price_format": 1,
                "quantity_format": 1,
                "date_format": 1,
            },
            1,
        ),
        only(GOOD + BOM + HEADER + row(3)),
    ),
]
STRUCTURE = [
    Hostile("empty", Counted(0), only(b"")),
    Hostile("one line end", Counted(0), only(b"\n")),
    Hostile("blank lines only", Counted(0), only(b" \t\r\n\n  \n\t")),
    Hostile("a header only", Counted(0), only(HEADER)),
    Hostile("a header without a line end", Counted(0), only(HEADER[:-1])),
    Hostile("100,000 blank lines before the header", Counted(2), only(b"\r\n" * 10**5 + GOOD)),
    Hostile("200,000 blank lines behind", Counted(3), body(row(1), b"\n \n" * 100_000, row(2))),
    Hostile("no header", Refused(NO_HEADER), only(row(1) + row(2))),
    Hostile(
        "a header twice",
        Counted(
            3, {"product_prefix": 1, "price_format": 1, "quantity_format": 1, "date_format": 1}, 1
        ),
        body(row(1), HEADER, row(2)),
    ),
    Hostile(
        "a column twice",
        Refused("the header names price twice"),
        only(b"transaction_id,product,price,price,quantity,date\n" + row(1)),
    ),
    Hostile(
        "a column short",
        Refused("the header lacks date; it has transaction_id, product, price, quantity", 3),
        only(b"\n\ntransaction_id,product,price,quantity\n" + row(1)),
    ),
    Hostile(
        "a header of one column", Refused("the header lacks"), only(b"a" * 60 + b"\n" + row(1))
    ),
    Hostile("a name of 10 MB", Refused(NO_HEADER), only(b"a" * 10**7 + b"\n" + row(1))),
    Hostile("a header that never ends", Refused(NO_HEADER), only(b"a" * (17 * MIB))),
    Hostile("an open quote in the header", Refused(NO_HEADER), only(b'"' + GOOD)),
    Hostile(
        "line ends in the header",
        Refused("holds the control character U+000A"),
        only(GOOD.replace(b"price", b'"\nprice\n"', 1)),
    ),
    Hostile("CR only", Refused("seem to end with a lone CR"), only(GOOD.replace(b"\n", b"\r"))),
    *(
        Hostile(
            f"{name} only, with a column before the identifier and one after the date",
            Refused(f"column 7 of the header holds the control character U+{ord(end):04X}"),
            only((b"x," + GOOD.replace(b"\n", b",y\nx,"))[:-3].replace(b"\n", end.encode())),
        )
        for name, end in (("CR", "\r"), ("NEXT LINE", "\u0085"), ("LINE SEPARATOR", "\u2028"))
    ),
    Hostile(
        "a quote that opens in the header and closes behind a row",
        Refused("a quote opens in it and closes in a later line"),
        only(HEADER[:-1] + b',"x\n' + row(1)[:-1] + b',x"\n' + row(2)[:-1] + b",x\n"),
    ),
    Hostile("no line ends", Refused("and has no rows", None), only(GOOD.replace(b"\n", b","))),
    Hostile("a header of letters that are data", Refused("it has 3 columns"), only(LETTERS)),
    Hostile(
        "rows that are columns",
        Refused("the header lacks product, price, quantity, date; it has 4 columns"),
        only(b"transaction_id," + LETTERS + b"product,a,b,c\nprice,1,2,3\n"),
    ),
    Hostile(
        "a header joined with a row",
        Refused("the header lacks date; it has 9 columns"),
        only(HEADER[:-1] + row(1) + row(2)),
    ),
    Hostile(
        "a quote that swallows rows",
        Counted(2, {"malformed_row": 3}),
        body(row(0), row(1, '"Halal'), row(2), row(3, 'Halal"')),
    ),
    Hostile(
        "quotes that swallow rows, from the identifier and from the date",
        Counted(1, {"malformed_row": 5}),
        body(
            b'"' + row(1),
            row(2),
            row(3).replace(b",", b'",', 1),
            row(4, date='"2'),
            row(5, date='2"'),
        ),
    ),
    Hostile("CR LF", Counted(2), only(GOOD.replace(b"\n", b"\r\n"))),
    Hostile(
        "mixed line ends",
        Counted(4),
        only(
            HEADER[:-1]
            + b"\r\n"
            + row(1)
            + row(2)[:-1]
            + b"\r\r\n"
            + row(3)[:-1]
            + b"\n\r"
            + row(4)
        ),
    ),
    Hostile(
        "a lone CR between two records makes them one",
        Counted(1, {"malformed_row": 1}),
        body(row(1)[:-1] + b"\r" + row(2)),
    ),
    Hostile(
        "LINE SEPARATOR, NEXT LINE, FORM FEED are no line ends",
        Counted(3),
        body(row(1, "Halal\u2028x\u0085y\x0cz\x0b"), row(2)),
    ),
    Hostile("NULs", Counted(2, {"malformed_row": 2}), body(row(1, "Halal \0"), b"\0\n", row(2))),
    Hostile(
        "a NUL within bytes that are no UTF-8",
        Counted(1, {"malformed_row": 1, "encoding": 1}, 1),
        body(row(1).replace(b"M", b"\0\xff")),
    ),
    Hostile(
        "quotes that nobody closes",
        Counted(3, {"malformed_row": 3}),
        body(
            row(1, '"Halal'),
            row(2),
            row(3, 'Halal "Pro'),
            row(4),
            row(5, '"Halal" x'),
        ),
    ),
    Hostile(
        "an open quote in the last line",
        Counted(1, {"malformed_row": 1}),
        only(HEADER + row(1) + row(2, '"Halal')),
    ),
    Hostile("nothing but quotes", Counted(1, {"malformed_row": 1}), body(b'"' * 99_999 + b"\n")),
    Hostile("10,000 open quotes", Counted(1, {"malformed_row": 10**4}), body(b'"a\n' * 10**4)),
    Hostile(
        "backslashes escape nothing", Counted(1, {"malformed_row": 1}), body(row(1, r'"Halal\"x"'))
    ),
    Hostile(
        "apostrophes are no quotes", Counted(1, {"malformed_row": 1}), body(row(1, "'Halal, x'"))
    ),
    Hostile(
        "ragged",
        Counted(1, {"malformed_row": 4}),
        body(b"x\n", b",,,\n", b",,,,,\n", row(1)[:-1] + b",\n"),
    ),
    Hostile(
        "empty fields",
        Counted(1, {f"missing_{name}": 2 for name in HEADER.decode().strip().split(",")}, 2),
        body(b",,,,\n", b'"","",""," ","\t"\n'),
    ),
    Hostile("a million commas", Counted(1, {"malformed_row": 1}), body(b"," * 10**6 + b"\n")),
    Hostile(
        "100,005 columns",
        Refused("the header names 100,005 columns, more than 10,000"),
        only(HEADER[:-1] + b",x" * 100_000 + b"\n" + row(1)[:-1] + b",y" * 100_000 + b"\n"),
    ),
    Hostile(
        "9,999 columns",
        Counted(2, {"malformed_row": 1}),
        only(
            HEADER[:-1]
            + b",x" * 9_994
            + b"\n"
            + row(0)
            + b"".join(row(n)[:-1] + b",y" * 9_994 + b"\n" for n in (1, 2))
        ),
    ),
    Hostile(
        "fields of 10 MB",
        Counted(3, {"price_format": 1, "quantity_format": 1, "date_format": 1}),
        body(
            row(1, "Halal " + "x" * 10**7),
            row(2, '"Halal ' + "x,\n" * 300_000 + '"'),
            row(3, price="9" * 10**6),
            row(4, quantity="9" * 10**6),
            row(5, date="9" * 10**6),
        ),
    ),
    Hostile("a record of 17 MiB", Counted(1, {"malformed_row": 1}), body(row(1, "x" * (17 * MIB)))),
    Hostile(
        "a record of 20 MiB that is no UTF-8",
        Counted(1, {"malformed_row": 1, "encoding": 1}, 1),
        body(b"\xff" * (20 * MIB) + b"\n"),
    ),
]
BINARIES = [
    Hostile(
        "PNG",
        Refused("is a picture", None),
        only(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))),
    ),
    Hostile(
        "PDF", Refused("is a PDF document", None), only(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n")
    ),
    Hostile("ELF", Refused(NOT_TEXT), only(b"\x7fELF\x02\x01\x01" + bytes(99))),
    Hostile(
        "SQLite", Refused("is a SQLite database", None), only(b"SQLite format 3\0" + bytes(99))
    ),
    Hostile("a spreadsheet", Refused("has no data file", None), _zip),
    Hostile("Parquet", Refused("lacks price, quantity, date", None), _parquet),
    Hostile("bzip2", Refused("is packed with bzip2", None), lambda: bz2.compress(GOOD)),
    Hostile("xz", Refused("is packed with xz", None), lambda: lzma.compress(GOOD)),
    Hostile(
        "JSON",
        Refused("is one JSON array", None),
        only(json.dumps([{"transaction_id": CANARY}]).encode()),
    ),
    Hostile(
        "HTML", Refused("is an HTML page", None), only(b"<!DOCTYPE html>\n<p>" + CANARY.encode())
    ),
    Hostile("SQL", Refused(NO_HEADER), only(f"insert into t values ('{CANARY}');\n".encode())),
    Hostile("all bytes", Refused(NOT_TEXT), only(bytes(range(256)) * 99)),
]
COMPRESSED = [
    Hostile("gzip by its bytes, whatever its name", Counted(2), lambda: gzip.compress(GOOD)),
    Hostile("plain text named .csv.gz", Counted(2), only(GOOD), ".csv.gz"),
    Hostile("an empty gzip", Counted(0), lambda: gzip.compress(b""), ".csv.gz"),
    Hostile("gzip members", Counted(3), lambda: gzip.compress(GOOD) + gzip.compress(row(3))),
    Hostile(
        "gzip cut within a line",
        Counted(2),
        lambda: gzip.compress(GOOD[:-9]) + gzip.compress(GOOD[-9:]),
    ),
    Hostile("gzip with zeros behind", Counted(2), lambda: gzip.compress(GOOD) + bytes(512)),
    Hostile("gzip with rubbish behind", Refused(DAMAGED, None), lambda: gzip.compress(GOOD) + b"x"),
    *(
        Hostile(
            f"gzip cut to {length} bytes", Refused(DAMAGED, None), only(PACKED[:length]), ".csv.gz"
        )
        for length in (2, 5, 10, 40, len(PACKED) - 8, len(PACKED) - 1)
    ),
    Hostile(
        "a wrong checksum", Refused(DAMAGED, None), only(PACKED[:-8] + b"\0" * 4 + PACKED[-4:])
    ),
    Hostile("a wrong length", Refused(DAMAGED, None), only(PACKED[:-4] + b"\0" * 4)),
    Hostile(
        "gzip in gzip",
        Refused("is gzip inside of", None),
        lambda: gzip.compress(gzip.compress(GOOD)),
    ),
    Hostile("zstd", Counted(2), lambda: zstd.compress(GOOD), ".csv.zst"),
    Hostile("zstd frames", Counted(3), lambda: zstd.compress(GOOD) + zstd.compress(row(3))),
    Hostile(
        "zstd with rubbish behind", Refused(DAMAGED, None), lambda: zstd.compress(GOOD) + b"xxxx"
    ),
    *(
        Hostile(
            f"zstd cut to {length} bytes", Refused(DAMAGED, None), only(FRAME[:length]), ".csv.zst"
        )
        for length in (4, 6, 30, len(FRAME) - 1)
    ),
    Hostile(
        "a bit of zstd",
        Refused(DAMAGED, None),
        only(FRAME[:20] + bytes([FRAME[20] ^ 8]) + FRAME[21:]),
    ),
    Hostile("a bomb of NULs", Counted(2, {"malformed_row": 1}), lambda: _bomb(b"\0", 18)),
    Hostile("a bomb of blank lines", Counted(2), lambda: _bomb(b"\n", 1)),
    Hostile("a bomb of spaces", Counted(2, {"malformed_row": 1}), lambda: _bomb(b" x", 20)),
    Hostile(
        "a bomb of commas", Counted(2, {"malformed_row": 1}), lambda: _bomb(b",", 20, zstd.compress)
    ),
    Hostile("a bomb in an open quote", Counted(2, {"malformed_row": 1 + 2 * 8192}), _open_bomb),
]
VALUES = [
    Hostile(
        "wrong prices",
        Counted(
            1,
            {"price_format": len(WRONG_NUMBERS) - 2, "negative_price": 1, "price_too_low": 1},
        ),
        field("price", *WRONG_NUMBERS),
    ),
    Hostile(
        "wrong quantities",
        Counted(
            2,
            {
                "quantity_format": len(WRONG_NUMBERS) - 1,
                "negative_quantity": 1,
                "quantity_range": 1,
            },
        ),
        field("quantity", *WRONG_NUMBERS, "1.0", "9223372036854775808"),
    ),
    Hostile(
        "huge numbers",
        Counted(3, {"price_format": 2, "price_decimals": 1, "price_too_low": 1}, 3),
        field(
            "price",
            "9" * 16 + ".99",
            "1" + "0" * 16,
            "9" * 400,
            "10." + "0" * 400,
            "0." + "0" * 400 + "1",
        ),
    ),
    Hostile(
        "huge quantities",
        Counted(2, {"quantity_range": 3, "quantity_format": 1}),
        field("quantity", "0" * 400 + "7", "0", "101", "9223372036854775807", "9" * 400),
    ),
    Hostile(
        "wrong dates", Counted(1, {"date_format": len(WRONG_DATES)}), field("date", *WRONG_DATES)
    ),
    Hostile(
        "29 February and the ends of time",
        Counted(1 + len(RIGHT_DATES)),
        field("date", *RIGHT_DATES),
    ),
    Hostile(
        "look-alikes",
        Counted(1, {"product_prefix": len(LOOKALIKES)}),
        field("product", *LOOKALIKES),
    ),
    Hostile(
        "formulas in text",
        Counted(1, {"product_prefix": len(FORMULAS)}),
        field("product", *FORMULAS),
    ),
    Hostile(
        "markup, escape sequences and directions behind the prefix are data",
        Counted(8),
        field(
            "product",
            *(
                "Halal =1+1",
                "Halal <script>alert(1)</script>",
                "Halal \x1b[2J\x1b]0;x\x07",
                "Halal \x9b31m",
            ),
            *("Halal \u202egnp.exe", "Halal \u200b\u2066", "Halal \U0001f1ee\U0001f1e9\U000e0041"),
        ),
    ),
    Hostile(
        "white space of all kinds around",
        Counted(2),
        field("product", "\u3000\u00a0\t Halal\u2028\u0085\u2003"),
    ),
    Hostile(
        "identifiers that look alike are not the same",
        Counted(4, {"duplicate_transaction_id": 2, "transaction_id_format": 2}),
        only(
            HEADER
            + b"".join(
                row(1, identifier=text)
                for text in (
                    *("\u00e9", "A", "\uff41", "a\u200b", "\u0430"),
                    *(" \u00e9", "e\u0301", "\u202ea"),
                )
            )
        ),
    ),
]
CORPUS = [*ENCODINGS, *STRUCTURE, *BINARIES, *COMPRESSED, *VALUES]
_HUNGRY = (
    *("a bomb of NULs", "a bomb in an open quote", "fields of 10 MB", "9,999 columns"),
    *("100,005 columns", "a record of 20 MiB that is no UTF-8"),
)
HEAVY = [
    *(each for each in CORPUS if each.name in _HUNGRY),
    Hostile("a bomb of 1.25 GiB", Counted(2, {"malformed_row": 1}), _endless_bomb, ".csv.zst"),
]
"""Those of the corpus that take the most memory, and one that no oracle could hold."""
