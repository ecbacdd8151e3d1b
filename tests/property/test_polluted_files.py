"""One clean table, written in hundreds of ways and damaged in as many, up to the seal.

Whatever is done to a file, each row comes out as it was, or is in quarantine with its line and its
bytes; and every byte of the file is accounted for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from sales_mart.config import Config
from sales_mart.lake import parquet
from sales_mart.lake.runs import RunFolder
from sales_mart.rows.tokens import Tokeniser
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard

if TYPE_CHECKING:
    from pathlib import Path

VARIANTS = 210
DAMAGED = (3, 9, 10, 15)
FIELDS = ("transaction_id", "product", "price", "quantity", "date")
PRODUCTS = (
    *("Tea", "Green tea, loose", 'Cup "XL"', "Caf\u00e9 au lait", "Sugar; brown", "Pot | lid"),
    *("a\tb", "5' rope", "back\\slash", "two\nlines", "x", "\u00dcber-Brot", "~^:", "'quoted'"),
)
ROWS = tuple(
    (
        f"T{number}",
        PRODUCTS[number % len(PRODUCTS)],
        Decimal(number * 137) / 100 + 1000,
        number,
        day,
    )
    for number, day in ((n, date(2024, 1, 1 + n)) for n in range(1, 17))
)


@dataclass
class Written:
    """A file, and what stands in it.

    Attributes:
        data: Its bytes.
        ingestion: The section that says how it is written.
        places: Of each row, its line, and its first byte and bytes without the line end.
        products: Of each row, its product as this way of writing can say it.
        damaged: The rows that were damaged, which need not come out.
        said: What was done.
    """

    data: bytes = b""
    ingestion: dict[str, Any] = field(default_factory=dict[str, Any])
    places: dict[int, tuple[int, int, int]] = field(default_factory=dict[int, tuple[int, int, int]])
    products: dict[int, str] = field(default_factory=dict[int, str])
    damaged: set[int] = field(default_factory=set[int])
    said: str = ""


class Writer:
    """One way to write a table; dice choose it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.delimiter = dice.choice(",;\t|:^~\x01")
        self.quote = dice.choice(('"', '"', "'", None))
        self.escape = dice.choice((None, None, "\\"))
        self.encoding = dice.choice(
            ("utf-8", "utf-8", "cp1252", "latin-1", "utf-16-le", "utf-16", "cp437")
        )
        self.decimal, self.thousands = dice.choice(
            ((".", None), (",", None), (",", "."), (".", ","), (",", " "))
        )
        if self.quote is None and self.delimiter in (self.decimal, self.thousands):
            self.decimal, self.thousands = ".", None  # nothing would tell a number from two fields
        self.sign = dice.choice((None, None, "$", "EUR"))
        self.date_format = dice.choice(("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%d %b %Y", "%Y%m%d"))
        self.order = dice.sample(FIELDS, len(FIELDS))
        self.names = {
            name: dice.choice((name, name.upper(), f" {name} ", f"the {name}")) for name in FIELDS
        }
        self.extra = dice.choice((0, 0, 2))
        self.preamble = dice.choice((0, 0, 3))
        self.codec = "utf-16-le" if self.encoding == "utf-16" else self.encoding

    @property
    def ingestion(self) -> dict[str, Any]:
        """The section of the configuration that says all this."""
        return {
            "format": {
                "delimiter": self.delimiter,
                "quote": self.quote,
                "escape": self.escape,
                "encoding": self.encoding,
                "skip_rows": self.preamble,
                "decimal_separator": self.decimal,
                "thousands": self.thousands,
                "currency_sign": self.sign,
                "date_format": self.date_format,
            },
            "columns": {name: theirs.strip() for name, theirs in self.names.items()},
        }

    def number(self, value: Decimal) -> str:
        """Write a price."""
        text = f"{value:,.2f}" if self.thousands else f"{value:.2f}"
        text = text.replace(",", "T").replace(".", self.decimal)
        text = text.replace("T", self.thousands or "")
        return f"{text} {self.sign}" if self.sign == "EUR" else f"{self.sign or ''}{text}"

    def cell(self, text: str) -> str:
        """Write a field."""
        if self.escape:
            text = text.replace(self.escape, self.escape * 2)
        if self.quote is None:
            return text.replace(self.delimiter, f"{self.escape}{self.delimiter}")
        if {self.delimiter, "\n", self.quote} & set(text) or self.dice.random() < 0.2:
            inside = text.replace(self.quote, f"{self.escape or self.quote}{self.quote}")
            return f"{self.quote}{inside}{self.quote}"
        return text

    def fits(self, text: str) -> str:
        """Take out of a text what this way of writing cannot say."""
        if self.quote is None:
            text = text.replace("\n", " ")
            text = text if self.escape else text.replace(self.delimiter, " ")
        return text.encode(self.codec, "ignore").decode(self.codec).strip()

    def header(self) -> str:
        """Write the first row."""
        more = [f"extra {number}" for number in range(self.extra)]
        return self.delimiter.join([*(self.cell(self.names[name]) for name in self.order), *more])

    def row(self, at: int) -> list[str]:
        """Write the fields of a row."""
        identifier, product, price, quantity, day = ROWS[at]
        texts = {
            "transaction_id": identifier,
            "product": self.fits(product),
            "price": self.number(price),
            "quantity": str(quantity) + self.dice.choice(("", "", f"{self.decimal}0")),
            "date": day.strftime(self.date_format),
        }
        return [self.cell(texts[name]) for name in self.order] + ["x"] * self.extra


def written(seed: int) -> Written:
    """Write the table in one of many ways, and damage it; the seed chooses."""
    dice = random.Random(seed)  # noqa: S311 - for a choice that can be repeated
    writer = Writer(dice)
    made = Written(ingestion=writer.ingestion)
    damage = dice.choice(("none", "none", "ragged", "quote", "cut", "footer", "blank"))
    made.said = f"{seed} {damage}: {made.ingestion['format']}"
    lines = [*["Report \u00e4", "", "of 2024"][: writer.preamble], writer.header()]
    starts: dict[int, int] = {}
    for at, row in enumerate(ROWS):
        made.products[at] = writer.fits(row[1])
        cells = writer.row(at)
        hit = damage if at in DAMAGED else "none"
        if hit == "ragged":
            cells = dice.choice((cells[:-1], [*cells, "more"]))
        line = writer.delimiter.join(cells)
        if hit == "quote":
            place = dice.randrange(len(line) + 1)
            line = line[:place] + (writer.quote or '"') + line[place:]
        if hit == "cut":
            line = line[: dice.randrange(1, len(line))]
        if hit == "blank":
            lines.append(dice.choice(("", "  ")))
        reach = {"ragged": 1, "cut": 2, "quote": 3}.get(hit, 0)
        made.damaged |= set(range(at, at + reach))
        starts[len(lines)] = at
        lines.append(line)
    if damage == "footer":
        lines.append(writer.delimiter.join(["Total", *[""] * (len(FIELDS) + writer.extra - 1)]))
    ends = dice.choice((("\n",), ("\r\n",), ("\n", "\r\n")))
    made.data, number = (b"\xff\xfe" if writer.encoding == "utf-16" else b""), 1
    for at, line in enumerate(lines):
        is_last = at == len(lines) - 1
        body = line.encode(writer.codec, "replace")
        if at in starts:
            made.places[starts[at]] = (number, len(made.data), len(body))
        made.data += body + ("" if is_last and seed % 3 else dice.choice(ends)).encode(writer.codec)
        number += line.count("\n") + 1
    return made


@pytest.mark.parametrize("seed", range(VARIANTS))
def test_rows_are_what_they_were_or_in_quarantine(seed: int, tmp_path: Path) -> None:
    made = written(seed)
    path = tmp_path / "sales.csv"
    path.write_bytes(made.data)
    config = Config.model_validate(
        {"ingestion": made.ingestion, "security": {"algorithm": "sha256"}}
    )
    lake = str(tmp_path / "lake")
    planned = plan(config, lake, business_date=date(2024, 1, 6), source=str(path))
    run = RunFolder(lake, planned.run_id)
    validate_shard(config, run, 0, block_bytes=(1 << 20, 1 << 20, 700)[seed % 3])
    record = seal(config, run)

    valid = pl.concat([parquet.read_part(run, part) for part in record.valid])
    token = Tokeniser().token
    rows = {token(row[0]): (made.products[at], *row[2:]) for at, row in enumerate(ROWS)}
    found = {
        row["transaction_id"]: (row["product"], row["price"], row["quantity"], row["sale_date"])
        for row in valid.iter_rows(named=True)
    }
    numbers = {token(row[0]): at for at, row in enumerate(ROWS)}
    for identifier, values in found.items():
        if numbers.get(identifier, -1) not in {*made.damaged, -1}:
            assert values == rows[identifier], made.said
    lost = {numbers[each] for each in rows.keys() - found.keys()}
    assert lost <= made.damaged, made.said
    parts = [parquet.read_part(run, part) for part in record.quarantine]
    kept = pl.concat(parts) if parts else pl.DataFrame(schema={"line": pl.Int64})
    lines = set(kept["line"].to_list())
    # What was put into an identifier, or cut off it, makes another one: no file tells them apart.
    others = found.keys() - rows.keys()
    assert len({at for at in lost if made.places[at][0] not in lines}) <= len(others), made.said
    for at in lost:
        line, offset, length = made.places[at]
        if line not in lines:
            continue
        row = kept.filter(pl.col("line") == line).row(0, named=True)
        assert row["byte_offset"] == offset, made.said
        assert row["byte_length"] <= length, made.said
    (counted,) = record.objects
    assert counted.size == len(made.data)
    assert counted.unaccounted == 0
    assert record.rows_read == record.rows_valid + record.rows_rejected
