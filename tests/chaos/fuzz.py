"""Fuzzing while there is time: the reader, the whole way to the seal, the configuration."""

from __future__ import annotations

import gzip
import io
import random
import time
import unicodedata
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from backports import zstd
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

import oracle
from chaos.table import Row
from hostile_settings import check_environment, check_file, names, variable_texts, yaml_files
from sales_mart.config import Config
from sales_mart.errors import SourceFormatError
from sales_mart.lake.records import SourceObject
from sales_mart.schema import FIELDS, schema_of
from sales_mart.source.csv_reader import BLOCK_BYTES, ENCODING, MALFORMED, Account, read_blocks
from sales_mart.source.listing import find_objects
from sales_mart.source.objects import open_object
from sealed_files import cases, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_mart.servers.local import LocalServers

COLUMNS = schema_of(Config()).fields
__all__ = ["attempt", "drawn", "examples", "fuzz", "mutate", "read_as_the_oracle", "read_packed"]

_EXAMPLES = 100
"""Examples between two looks at the clock."""
HEADER = b"transaction_id,product,price,quantity,date\n"
SEEDS = (
    HEADER + b"T1,Halal Mouse,20.00,1,2023-10-01\nT2,Halal,10,2,2023-10-02\n",
    b'\xef\xbb\xbf"date",PRICE, Quantity ,email,product,Transaction_ID\r\nx,1,2,e,p,T1\r\n',
    HEADER + b'T1,"a, ""b""\nc",1,1,x\n\n \t\nT2,d,1,1,x\r\n"T3","","","",""',
    HEADER
    + b'T1,"open,1,1,x\nT2,p,1,1,x\n\nT3,close",1,1,x\nT4,p,1,1,x\n"T5,p,1,1,x\r\nT6",p,1,1,x\n',
    HEADER + b'T1,"open,1,1,x\nT2,"\xc3\xa9",1,1,x\n,,,,\n"""",\xff,1,1,x\n\0\n',
    b"\r\n \t\n" + HEADER[:-1] + b",a,b\nT1,p,1,1,x,,\n" * 9,
)
_AROUND = "".join(
    each for each in oracle.WHITE_SPACE if each == "\t" or each not in "\n\v\f\r\x85\u2028\u2029"
)
TOKENS = (
    *(
        b'"',
        b'""',
        b'","',
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b'"\n',
        b'\n"',
        b",,,,",
        b" ",
        b"\t",
    ),
    *(
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
        b"x",
    ),
    *(b'T1,"p,1,1,x\n', b'T1,p",1,1,x\n', b'T1,p,1,1,"x\n'),
    *(b"=1", b"1e3", b"\xd9\xa2", b"2023-02-29", HEADER, b"T1,p,1,1,x\n", b'T1,"p\n",1,1,x\n'),
)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes in the ways in which files break."""
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(data))
        stop = min(len(data), start + chance.choice((0, 1, 1, 2, 5, 40)))
        piece = data[start:stop]
        new = chance.choice(
            (b"", piece * 2, chance.choice(TOKENS), chance.choice(TOKENS), bytes(reversed(piece)))
        )
        data = data[:start] + new + data[stop:]
    return data


def read_as_the_oracle(data: bytes, block_bytes: int = BLOCK_BYTES) -> None:
    """Read a file, and see that places, flaws and fields are what the oracle says."""
    records = oracle.records(data)
    header = next(records, None)
    try:
        found = _read(data, block_bytes)
    except SourceFormatError:
        names = [] if header is None or header.cells is None else _names(header.cells)
        assert header is not None
        wrong = [name for name in FIELDS if names.count(name) != 1]
        assert wrong or _is_broken(header) or (_has_value(names) and next(records, None) is None)
        return
    assert header is None or not _is_broken(header)
    expected: list[tuple[object, ...]] = []
    names = _names(header.cells or ()) if header else []
    for number, record in enumerate(records, start=1):
        cells = record.cells
        broken = cells is None or len(cells) != len(names) or b"\0" in record.data
        flaws = MALFORMED if broken else 0
        try:
            record.data.decode()
        except UnicodeDecodeError:
            flaws |= ENCODING
        texts: tuple[str | None, ...] = ()
        if not flaws and cells is not None:
            texts = tuple(oracle.stripped(cells[names.index(name)].decode()) for name in FIELDS)
        place = (number, record.line, record.offset, len(record.data))
        expected.append((*place, flaws or texts))
    assert found == expected


def _is_broken(header: oracle.Record) -> bool:
    """Return whether a name holds what may end a line somewhere, other than around it."""
    cells = [cell.decode("utf-8", "replace").strip(_AROUND) for cell in header.cells or ()]
    return any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in "".join(cells))


def _has_value(names: list[str]) -> bool:
    return any(character.isdigit() for name in names for character in name)


def _names(cells: tuple[bytes, ...]) -> list[str]:
    return [cell.decode("utf-8", "replace").strip().lower() for cell in cells]


def _read(data: bytes, block_bytes: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    account = Account()
    in_records = 0
    for block in read_blocks(
        io.BytesIO(data), "file", COLUMNS, block_bytes=block_bytes, account=account
    ):
        texts = [tuple(map(oracle.stripped, row)) for row in block.fields.rows()]
        for places, values in ((block.places, texts), (block.broken, block.flaws.tolist())):
            columns = (places.rows, places.lines, places.offsets, places.lengths)
            in_records += int(places.lengths.sum()) + int(places.line_ends.sum())
            rows += zip(*(column.tolist() for column in columns), values, strict=True)
    assert account.size == len(data) == account.header + account.blank + in_records
    return sorted(rows, key=lambda row: int(row[0]))


def read_packed(path: Path, data: bytes) -> None:
    """Read a file that may be compressed and damaged: it is read or refused, nothing else."""
    path.write_bytes(data)
    (item,) = find_objects([str(path)])
    assert isinstance(item, SourceObject)
    try:
        with open_object(item) as stream:
            for _ in read_blocks(stream, item.uri, COLUMNS):
                pass
    except SourceFormatError:
        return


def fuzz(_servers: LocalServers, folder: Path, seconds: float, seed: int) -> list[Row]:
    """Attack for about so many seconds; the same seed tries the same things in the same order."""
    return [
        _mutations(seconds * 0.25, seed),
        _packed(seconds * 0.15, seed, folder),
        examples("random files, plan to seal", cases(), _whole, seconds * 0.3, seed),
        examples(
            "random YAML",
            yaml_files(),
            lambda data: check_file(folder, data),
            seconds * 0.2,
            seed,
        ),
        examples(
            "random environment",
            st.dictionaries(names, variable_texts, max_size=4),
            check_environment,
            seconds * 0.1,
            seed,
        ),
    ]


def _whole(case: Any) -> None:
    with TemporaryDirectory() as folder:
        check(case, Path(folder))


def _mutations(seconds: float, seed: int) -> Row:
    chance = random.Random(seed)  # noqa: S311 - for variety, not for secrets

    def attempt() -> None:
        data = mutate(chance.choice(SEEDS), chance)
        try:
            read_as_the_oracle(data, chance.choice((1, 7, 40, BLOCK_BYTES)))
        except Exception as error:
            error.add_note(repr(data))
            raise

    return _row("mutated files, reader against the oracle", _repeat(attempt, seconds))


def _packed(seconds: float, seed: int, folder: Path) -> Row:
    chance = random.Random(seed)  # noqa: S311 - for variety, not for secrets

    def attempt() -> None:
        pack = chance.choice((gzip.compress, zstd.compress))
        data = mutate(pack(chance.choice(SEEDS) * chance.choice((1, 50))), chance)
        try:
            read_packed(folder / "packed.csv", data)
        except Exception as error:
            error.add_note(repr(data))
            raise

    return _row("mutated gzip and zstd", _repeat(attempt, seconds))


def _repeat(attempt: Callable[[], None], seconds: float) -> tuple[int, list[str]]:
    end = time.monotonic() + seconds
    tried = 0
    found: list[str] = []
    while time.monotonic() < end:
        tried += 1
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
            found.append(_say(error))
    return tried, found


def examples(  # noqa: PLR0913 - what an attack is made of
    name: str,
    strategy: st.SearchStrategy[Any],
    check_one: Callable[[Any], None],
    seconds: float,
    seed: int,
    most: int = _EXAMPLES,
) -> Row:
    """Try examples until the time is over, `most` of them between two looks at the clock.

    What is tried to make a failing example smaller is not counted.
    """
    end = time.monotonic() + seconds
    tried = 0
    found: list[str] = []
    for batch in count():
        if batch and time.monotonic() > end:
            break
        failed = False

        def attack(example: Any) -> None:
            nonlocal tried, failed
            tried += not failed
            try:
                check_one(example)
            except Exception:
                failed = True
                raise

        try:
            _each(strategy, attack, most, seed + batch, Phase.generate, Phase.shrink)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
            found.append(_say(error))
            tried += not failed
    return _row(name, (tried, found))


def drawn(strategy: st.SearchStrategy[Any], number: int, seed: int) -> list[Any]:
    """Draw examples, the same for the same seed."""
    found: list[Any] = []
    _each(strategy, found.append, number, seed, Phase.generate)
    return found


def _each(
    strategy: st.SearchStrategy[Any],
    what: Callable[[Any], None],
    most: int,
    seed: int,
    *phases: Phase,
) -> None:
    @seeded(seed)
    @settings(
        max_examples=most,
        database=None,
        deadline=None,
        phases=phases,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategy)
    def do(example: Any) -> None:
        what(example)

    do()


def attempt(check_one: Callable[[Any], None], example: Any) -> str:
    """Try one example; gives what was found."""
    try:
        check_one(example)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
        return _say(error)
    return ""


def _say(error: Exception) -> str:
    notes = " ".join(getattr(error, "__notes__", []))
    return f"{type(error).__name__}: {error} {notes}"[:2000]


def _row(attack: str, result: tuple[int, list[str]]) -> Row:
    tried, found = result
    return Row(attack, tried, tried - len(found), "; ".join(sorted(set(found))[:3]))
