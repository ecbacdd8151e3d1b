"""No identifier comes out through the structure of a file, however that is broken.

Each row has a canary for its identifier. The structure is then broken at random, and `plan`,
`validate` and `seal` are run, some of them until they fail half-way. Afterwards a canary may stand
only where its bytes belong to another column: what the plain-Python oracle reads decides that.
"""

from __future__ import annotations

import io
import json
import random
import re
import unicodedata
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import pytest

import oracle
from sales_mart.cli import main
from sales_mart.config import Config
from sales_mart.errors import SalesMartError
from sales_mart.lake.runs import RunFolder
from sales_mart.source.csv_reader import BLOCK_BYTES
from sales_mart.steps.plan import plan
from sales_mart.steps.seal import seal
from sales_mart.steps.validate import validate_shard
from secrecy import everything_said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sales_mart.lake.records import Part

CANARY = re.compile(rb"qzx[a-z0-9]{4}")
FOLDER = re.compile(rb"/tmp[a-z0-9_]{8}/")
"""The random name of a temporary folder, which may look like a canary."""
"""In lower case: whatever is searched is folded first."""
RULES = {"product_prefix": "Halal", "min_price": "10"}
TEXT_COLUMNS = ("product", "price", "quantity", "date")


class Lines(NamedTuple):
    """A file before it is broken: its header and rows, as cells."""

    header: list[str]
    rows: list[list[str]]


def made(chance: random.Random) -> Lines:
    """Make a good file: a canary for each identifier, of letters or with digits among them."""
    letters = "abcdefgh" if chance.random() < 0.5 else "12345678"
    header = list(oracle.FIELDS)
    if chance.random() < 0.5:
        chance.shuffle(header)
    before = ["note"] * (chance.random() < 0.5)
    after = ["remark"] * (chance.random() < 0.5)
    rows: list[list[str]] = []
    for number in range(chance.randint(1, 6)):
        cells = {
            "transaction_id": f"QZX{letters[number]}{''.join(chance.choices(letters, k=3))}",
            "product": chance.choice(("Halal Mouse", '"Halal, Mouse"', '"Halal\nMouse"', "Mouse")),
            "price": chance.choice(("20.00", "20", "x")),
            "quantity": chance.choice(("1", "many")),
            "date": chance.choice(("2023-10-01", "today")),
        }
        rows.append(
            [*("x" for _ in before), *(cells[name] for name in header), *("y" for _ in after)]
        )
    return Lines([*before, *header, *after], rows)


# --- ways to break a table, and ways to break its bytes


def _transpose(table: list[list[str]], _: random.Random) -> list[list[str]]:
    return [list(line) for line in zip(*table, strict=False)]


def _drop_header(table: list[list[str]], _: random.Random) -> list[list[str]]:
    return table[1:] or table


def _drop_name(table: list[list[str]], chance: random.Random) -> list[list[str]]:
    place = chance.randrange(len(table[0]))
    return [table[0][:place] + table[0][place + 1 :], *table[1:]]


def _rename(table: list[list[str]], chance: random.Random) -> list[list[str]]:
    header = list(table[0])
    header[chance.randrange(len(header))] = chance.choice(("name", "Datum", "", " ", "7"))
    return [header, *table[1:]]


def _move_identifiers(table: list[list[str]], chance: random.Random) -> list[list[str]]:
    """Let the rows follow another order of columns than the header."""
    order = list(range(len(table[0])))
    chance.shuffle(order)
    return [table[0], *([row[place] for place in order] for row in table[1:])]


def _widen(table: list[list[str]], chance: random.Random) -> list[list[str]]:
    """Put a column before or behind, in the header, the rows or both."""
    before, after = (["a"] if chance.random() < 0.5 else [] for _ in range(2))
    where = chance.choice((slice(0, 1), slice(1, None), slice(None)))
    chosen = range(len(table))[where]
    return [[*before, *row, *after] if n in chosen else row for n, row in enumerate(table)]


def _move_header(table: list[list[str]], chance: random.Random) -> list[list[str]]:
    rest = table[1:]
    place = chance.randint(0, len(rest))
    return [*rest[:place], table[0], *rest[place:]]


TABLES: tuple[Callable[[list[list[str]], random.Random], list[list[str]]], ...] = (
    *(_transpose, _drop_header, _drop_name, _rename, _move_identifiers, _widen, _move_header),
)
ENDS = (
    "\r",
    "\r\n",
    "\n\r",
    "\r\r\n",
    "\x85",
    "\u2028",
    "\x0b",
    "",
    " ",
    ",",
    "\n\n",
    '"\n',
    '\n"',
)
PIECES = ('"', '""', '","', "\r", "\n", "\ufeff", ",", ";", "\0", "\u200b", ',"', '",', '"\n"')


def _all_ends(text: str, chance: random.Random) -> str:
    return text.replace("\n", chance.choice(ENDS))


def _one_end(text: str, chance: random.Random) -> str:
    places = [match.start() for match in re.finditer("\n", text)]
    if not places:
        return text
    place = chance.choice(places)
    return text[:place] + chance.choice(ENDS) + text[place + 1 :]


def _insert(text: str, chance: random.Random) -> str:
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice(PIECES) + text[place:]


def _stray_quotes(text: str, chance: random.Random) -> str:
    """Open a quote where a field begins, and close it where a later one ends."""
    starts = [0, *(match.end() for match in re.finditer("[,\n]", text))]
    first = chance.choice(starts)
    stops = [match.start() for match in re.finditer("[,\n]", text) if match.start() > first]
    last = chance.choice(stops) if stops else len(text)
    return f'{text[:first]}"{text[first:last]}"{text[last:]}'


def _cut(text: str, chance: random.Random) -> str:
    start, stop = sorted((chance.randint(0, len(text)), chance.randint(0, len(text))))
    return text[:start] + (text[stop:] if chance.random() < 0.7 else "")


def _delimiter(text: str, chance: random.Random) -> str:
    return text.replace(",", chance.choice((";", "\t", "|", " ", ",,", ", ")))


def _quote_all(text: str, _: random.Random) -> str:
    return "\n".join(
        ",".join(cell if '"' in cell else f'"{cell}"' for cell in line.split(","))
        for line in text.split("\n")
    )


TEXTS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_all_ends, _one_end, _insert, _insert, _stray_quotes, _stray_quotes, _cut, _delimiter),
    _quote_all,
)


def broken(chance: random.Random) -> bytes:
    """Make a file, and break it."""
    header, rows = made(chance)
    table = [header, *rows]
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        table = chance.choice(TABLES)(table, chance)
    text = "".join(",".join(row) + "\n" for row in table)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        text = chance.choice(TEXTS)(text, chance)
    text = "\ufeff" * chance.choice((0, 0, 1, 2)) + text
    encoding = chance.choice(("utf-8", "utf-8", "utf-8", "utf-8", "utf-8", "utf-16", "utf-16-be"))
    return text.encode(encoding)


# --- what may stand where


def canaries(data: bytes | str) -> set[str]:
    """Find canaries in any case, in UTF-16 too."""
    data = data.encode("utf-8", "replace") if isinstance(data, str) else data
    folded = FOLDER.sub(b"", data.lower())
    return {
        found.decode()
        for text in (folded, folded.replace(b"\0", b""))
        for found in CANARY.findall(text)
    }


def allowed(data: bytes) -> tuple[dict[str, set[str]], set[str]]:
    """Tell which canaries may stand in which column, and which ones are shown as names."""
    columns: dict[str, set[str]] = defaultdict(set)
    rows = oracle.records(data)
    header = next(rows, None)
    if header is None or header.cells is None:
        return columns, set()
    texts = [cell.decode("utf-8", "replace").strip() for cell in header.cells]
    names = [text.lower() for text in texts]
    for record in rows:
        if record.cells is not None and len(record.cells) == len(names):
            for name, cell in zip(names, record.cells, strict=True):
                columns[name] |= canaries(cell)
    odd = any(
        letter in "@\ufffd" or unicodedata.category(letter)[0] in "NC" for letter in "".join(texts)
    )
    is_shown = set(names) & set(oracle.FIELDS) - {"transaction_id"} and not odd
    return columns, canaries(" ".join(texts)) if is_shown else set()


def parts_of(folder: Path) -> Iterable[tuple[Path, dict[str, str]]]:
    for path in folder.rglob("*.parquet"):
        frame = pl.read_parquet(path, glob=False)
        yield path, {name: str(frame[name].to_list()) for name in frame.columns}


def check(folder: Path, data: bytes, said: str) -> None:
    """Search everything that was written and said."""
    columns, names = allowed(data)
    # What is said names no column but as a name, and no value of any column.
    assert canaries(said) <= names, said
    kept = {name: columns[name] for name in TEXT_COLUMNS}
    for path, texts in parts_of(folder):
        for column, text in texts.items():
            assert canaries(text) <= kept.get(column, set()), (path, column, text)
    for path in folder.rglob("*"):
        assert not canaries(path.name)
        if path.is_file():
            values = set[str]().union(*kept.values()) if path.suffix == ".parquet" else names
            assert canaries(path.read_bytes()) <= values, path


# --- the steps


class Stopped(Exception):  # noqa: N818 - it is none of ours
    """What ends a step half-way."""


def by_command(folder: Path, source: Path) -> str:
    """Run the three commands, and return what they printed."""
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"ingestion": {"validation": RULES}}))
    said = io.StringIO()
    more = ["--config", str(settings), "--lake", str(folder / "lake"), "--run-id", "r"]
    more += ["--log-level", "debug"]
    day = ["--source", str(source), "--business-date", "2023-10-01"]
    with redirect_stdout(said), redirect_stderr(said):
        for command in (["plan", *day], ["validate"], ["seal"]):
            code = main([*command, *more])
            assert code in (0, 65, 2), said.getvalue()
    assert "Traceback" not in said.getvalue()
    return said.getvalue()


def by_library(block_bytes: int, stop_after: int, folder: Path, source: Path) -> str:
    """Call the three steps until so many parts were made, and give what the error says."""
    config = Config.model_validate({"ingestion": {"validation": RULES}})
    lake = str(folder / "lake")
    said: list[str] = []
    puts: list[str] = []
    put_part = RunFolder.put_part

    def stopping(self: RunFolder, name: str, path: Path, rows: int) -> Part:
        puts.append(name)
        if len(puts) == stop_after:
            # A kill leaves what stands here: it is looked at before anything is tidied up.
            check(folder / "lake", source.read_bytes(), "")
            raise Stopped(name)
        return put_part(self, name, path, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "put_part", stopping)
        try:
            plan(config, lake, source=str(source), business_date=date(2023, 10, 1), run_id="r")
            run = RunFolder(lake, "r")
            validate_shard(config, run, 0, block_bytes=block_bytes)
            seal(config, run)
        except (SalesMartError, Stopped) as error:
            said.append(everything_said(error))
    return "\n".join(said)


def attack(data: bytes, way: Callable[[Path, Path], str]) -> None:
    """Run one file, and search what came of it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source" / "a.csv"
        source.parent.mkdir()
        source.write_bytes(data)
        said = way(folder, source)
        source.unlink()
        check(folder, data, said)


NAMES = b"transaction_id,product,price,quantity,date"


@pytest.mark.parametrize("seed", range(8))
def test_a_broken_structure_gives_no_identifier_away(seed: int) -> None:
    for number in range(20):
        chance = random.Random(f"{seed}.{number}")  # noqa: S311 - for variety, not for secrets
        data = broken(chance)
        sizes = (chance.choice((1, 40, BLOCK_BYTES)), chance.choice((0, 0, 1, 2, 3)))
        way = by_command if number % 4 == 0 else partial(by_library, *sizes)
        try:
            attack(data, way)
        except BaseException as error:
            error.add_note(f"{seed}.{number}: {data!r}")
            raise


FOUND = {
    "lone CR": b"note," + NAMES + b",more\rx,QZXaaaa,Halal,20,1,2023-10-01,y\r",
    "transposed": b"transaction_id,QZXaaaa,QZXbbbb\nproduct,Halal,Halal\nprice,20,20\n",
    "letters": b"QZXaaaa,QZXbbbb\nQZXcccc,QZXdddd\n",
    "digits": b"product,date,QZX1111\n",
    "swallow": NAMES + b'\nQZXaaaa,"Halal,20,1,2023-10-01\nQZXbbbb,Halal",20,1,2023-10-01\n',
    "header swallow": NAMES
    + b',"n\nQZXaaaa,Halal,20,1,2023-10-01,n"\nQZXbbbb,H,20,1,2023-10-01,n\n',
}


@pytest.mark.parametrize("name", FOUND)
def test_what_gave_identifiers_away_once(name: str) -> None:
    for way in (by_command, partial(by_library, BLOCK_BYTES, 0)):
        attack(FOUND[name], way)
    columns, names = allowed(FOUND[name])
    assert not names
    assert not any(columns[each] for each in TEXT_COLUMNS)
