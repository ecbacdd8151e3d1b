"""Synthetic transactions: seeded, vectorised, and exact about how many of them are valid.

Every random choice is a hash of the seed and the row's number, so a row looks the same however
the rows are cut into chunks, and memory follows the chunk, not the file.
"""

from __future__ import annotations

import gzip
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from sales_mart.config import Config
from sales_mart.config.ingestion import Format
from sales_mart.errors import ConfigurationError
from sales_mart.lake.temporary import sync
from sales_mart.schema import POSITIONS, SaleColumn, schema_of
from sales_mart.synthetic import cases

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["generate", "write"]

CHUNK_ROWS = 250_000
"""Rows that are made at a time."""

_START = date(2023, 10, 1)
_NOUNS = ("Laptop", "Mouse", "Keyboard", "Headset", "Charger", "Tablet", "Printer", "Webcam")
_FIRST_ATTRIBUTE = 16
"""Number of the stream of choices of the first attribute."""
_PRICES = 1 << 16
"""Distinct prices at most."""
_RARE_SHARE = 200
"""One invalid row in so many has a given rare fault."""
_EDGE_SHARE = 1000
"""One valid row in so many has a given unusual form."""
_IN_BYTES = {cases.BAD_BYTE.encode(): b"\xff", cases.NO_FIELD.encode() + b",": b""}
"""What no text can say is put into the bytes at the end."""

UInts = npt.NDArray[np.uint64]


class _Request(NamedTuple):
    rows: int
    seed: int
    valid_share: float
    start: date
    days: int
    products: int
    config: Config


def generate(  # noqa: PLR0913 - every argument shapes the file
    rows: int,
    *,
    seed: int = 0,
    valid_share: float = 0.9,
    start: date = _START,
    days: int = 92,
    products: int = 12,
    config: Config | None = None,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[bytes]:
    r"""Yield a CSV file of synthetic transactions, its header first, in chunks of whole rows.

    Exactly `round(rows * valid_share)` rows are valid under `config`, duplicates settled. The
    others show every kind of fault that its rules know, as soon as there are some dozens of them.

    Args:
        rows: Data rows of the file.
        seed: Equal arguments give equal bytes, whatever `chunk_rows` is.
        valid_share: Share of valid rows, from 0 to 1.
        start: First sale date.
        days: Number of sale dates, from `start` on.
        products: Number of products among the valid rows.
        config: The rules; default: those of an empty configuration.
        chunk_rows: Rows per chunk, which memory follows.

    Raises:
        ConfigurationError: An argument is out of range, or no row can be valid under the rules.

    Example:
        >>> next(generate(10))
        b'transaction_id,product,price,quantity,date\n'
    """
    request = _Request(rows, seed, valid_share, start, days, products, config or Config())
    _check(request)
    names = _header(request.config)
    maker = _Maker(request)

    def chunks() -> Iterator[bytes]:
        yield (",".join(map(cases.quoted, names)) + "\n").encode()
        for first in range(0, rows, chunk_rows):
            yield maker.chunk(first, min(first + chunk_rows, rows))

    return chunks()


def write(path: Path, chunks: Iterable[bytes]) -> int:
    """Write chunks of `generate` to a file; `.gz` and `.zst` at the end of its name compress it.

    The file appears under its name when it is whole. Where that is a link, the file that it names
    is written.

    Returns:
        Bytes on the disk.

    Raises:
        ConfigurationError: The file cannot be written, or something else has its name.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            msg = f"{path} could not be written: it is there, and is no file"
            raise ConfigurationError(msg, remedy="Name a file.")
        temporary = target.with_name(f".{target.name}.tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _open(temporary, path.suffix) as file:
                for chunk in chunks:
                    file.write(chunk)
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return target.stat().st_size
    except (OSError, RuntimeError) as error:  # a RuntimeError is a circle of links
        msg = f"{path} could not be written: {getattr(error, 'strerror', None) or error}"
        raise ConfigurationError(msg, remedy="Choose a writable folder with room.") from error


@contextmanager
def _open(path: Path, suffix: str) -> Generator[IO[bytes]]:
    with path.open("wb") as file:
        if suffix == ".gz":
            # Neither time nor name in the header: equal arguments give equal bytes.
            with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
                yield cast("IO[bytes]", packed)
        elif suffix == ".zst":
            from backports import zstd

            with zstd.ZstdFile(file, "wb") as packed:
                yield cast("IO[bytes]", packed)
        else:
            yield file


def _check(request: _Request) -> None:
    for name, value, low, high in (
        ("rows", request.rows, 0, 1 << 31),
        ("valid_share", request.valid_share, 0, 1),
        ("days", request.days, 1, (date.max - request.start).days + 1),
        ("products", request.products, 1, 100_000),
    ):
        if not low <= value <= high:
            msg = f"{name} is {value}"
            raise ConfigurationError(msg, remedy=f"Give a value from {low} to {high}.")
    if cases.lowest_price(request.config) >= 10**18:
        msg = f"no price can be valid: min_price is {request.config.rules.min_price}"
        raise ConfigurationError(msg, remedy="Lower min_price or max_decimals.")
    prefix = request.config.rules.product_prefix
    if prefix[:1].isspace() or set(prefix) & {"\0", *cases.MARKS}:
        msg = "no product can be made: product_prefix starts with white space or holds a NUL"
        raise ConfigurationError(msg, remedy="Change product_prefix.")


class _Maker:
    """What rows are put together from: small tables, and hashes that choose from them."""

    def __init__(self, request: _Request) -> None:
        config = request.config
        # By the share's shortest text, so that 0.1 of ten rows is one row.
        self._valid = round(Fraction(str(request.valid_share)) * request.rows)
        self._seed = _hash(np.array([request.seed % (1 << 64)], dtype=np.uint64), 0)
        self._order = _Permutation(request.rows, self._pick(np.arange(2, dtype=np.uint64), 1))
        self._ids = _Permutation(request.rows, self._pick(np.arange(2, dtype=np.uint64), 2))
        self._first_id = 10 ** len(str(max(request.rows, 1000)))
        self._quantities = min(config.rules.max_quantity, 20)
        self._prices = self._price_table(config)
        names = _product_names(config.rules.product_prefix, request.products)
        # The last product has a comma in its name: where there are others, it is an edge case.
        self._products = pl.Series(names[:-1] or names)
        dates = (request.start + timedelta(days=day) for day in range(request.days))
        self._dates = pl.Series([day.isoformat() for day in dates])

        edges = cases.edges(config, names[0], names[-1])
        common = cases.common_cases(config)
        if not self._valid:
            common.remove(cases.DUPLICATE)
        forms = [cases.PLAIN, *edges, *common, *cases.rare_cases(config)]
        self._edges = len(edges)
        self._duplicate = forms.index(cases.DUPLICATE) if self._valid else -1
        # Each fault once, then the common ones over and over.
        cycle = list(range(1 + len(edges), len(forms)))
        again = cycle[: len(common)] * (_RARE_SHARE // len(common) + 1)
        self._cycle = np.array((cycle + again)[:_RARE_SHARE])
        schema = schema_of(config)
        self._attributes = {
            column.name: pl.Series(_attribute_texts(column)) for column in schema.attributes
        }
        self._texts = {
            name: pl.Series([form.texts.get(name) for form in forms], dtype=pl.String)
            for name in schema.fields
        }

    def chunk(self, first: int, end: int) -> bytes:
        """Make the rows from `first` to before `end`."""
        index = np.arange(first, end, dtype=np.uint64)
        rank = self._order(index)
        form = self._form(index, rank)
        owner = rank
        if self._valid:
            owner = np.where(form == self._duplicate, self._pick(index, 3, self._valid), rank)
        number = pl.Series("number", self._ids(owner) + np.uint64(self._first_id))
        skewed = np.square(self._pick(index, 5, 1 << 24) / (1 << 24)) * len(self._products)
        plain = {
            "transaction_id": number.to_frame().select(pl.format("T{}", "number")).to_series(),
            "product": self._products.gather(skewed.astype(np.uint32)),
            "price": self._prices.gather(self._pick(index, 6, len(self._prices))),
            "quantity": pl.Series(self._pick(index, 7, self._quantities) + np.uint64(1)),
            "date": self._dates.gather(self._pick(index, 8, len(self._dates))),
        } | {
            name: texts.gather(self._pick(index, _FIRST_ATTRIBUTE + number, len(texts)))
            for number, (name, texts) in enumerate(self._attributes.items())
        }
        columns = [
            _fill_in(self._texts[name].gather(form), column.cast(pl.String)).alias(name)
            for name, column in plain.items()
        ]
        data = pl.DataFrame(columns).write_csv(include_header=False, quote_style="never").encode()
        for mark, put in _IN_BYTES.items():
            data = data.replace(mark, put)
        return data

    def _form(self, index: UInts, rank: UInts) -> npt.NDArray[np.int64]:
        edge = self._pick(index, 4, _EDGE_SHARE).astype(np.int64) + 1
        edge[edge > self._edges] = 0
        fault = self._cycle[(rank - np.uint64(self._valid)) % np.uint64(_RARE_SHARE)]
        return np.where(rank < self._valid, edge, fault)

    def _pick(self, index: UInts, stream: int, choices: int = 1 << 63) -> UInts:
        return _hash(index ^ self._seed, stream) % np.uint64(choices)

    def _price_table(self, config: Config) -> pl.Series:
        lowest = cases.lowest_price(config)
        choices = min(1000 * 10**config.rules.max_decimals, 10**18 - lowest)
        picked = self._pick(np.arange(min(choices, _PRICES), dtype=np.uint64), 9, choices)
        return pl.Series([cases.money(lowest + int(more), config) for more in picked])


def _header(config: Config) -> list[str]:
    """Return what the configuration calls the columns.

    Raises:
        ConfigurationError: It describes files in a form that is not written here.
    """
    given = config.ingestion
    origins = schema_of(config).fields.values()
    if given.format != Format() or any(
        len(origin.parts) != 1 or origin.scale or POSITIONS & {*origin.parts[0]}
        for origin in origins
    ):
        msg = "the configuration describes files in another form than generate writes"
        raise ConfigurationError(
            msg,
            remedy="Leave ingestion.format out, and give each of ingestion.columns one name: "
            "generate writes commas, plain numbers and ISO dates.",
        )
    return [origin.parts[0][0] for origin in origins]


class _Permutation:
    """A seeded one-to-one map of the numbers below `size`, computed number by number."""

    def __init__(self, size: int, keys: UInts) -> None:
        bits = max(2, (size - 1).bit_length())
        self._size = np.uint64(size)
        self._mask = np.uint64((1 << bits) - 1)
        self._half = np.uint64(bits // 2)
        self._keys = keys

    def __call__(self, numbers: UInts) -> UInts:
        mixed = self._mix(numbers)
        # A number that leaves the range goes round again until it comes back into it.
        while (outside := mixed >= self._size).any():
            mixed[outside] = self._mix(mixed[outside])
        return mixed

    def _mix(self, numbers: UInts) -> UInts:
        # Each step can be undone within the power of two: xor, odd factor, shifted xor.
        for key in self._keys:
            numbers = ((numbers ^ key) * (key | np.uint64(1))) & self._mask
            numbers = numbers ^ (numbers >> self._half)
        return numbers


def _hash(numbers: UInts, stream: int) -> UInts:
    """Mix 64 bits as SplitMix64 does; each stream of choices has its own constant."""
    own = np.uint64(stream * 0xD1B54A32D192ED03 % (1 << 64))
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + own
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _fill_in(template: pl.Series, plain: pl.Series) -> pl.Series:
    """Put the template in place of the plain text where there is one."""
    own = pl.col("template").str.replace(cases.OWN, pl.col("plain"), literal=True)
    frame = pl.DataFrame({"template": template, "plain": plain})
    return frame.select(pl.coalesce(own, "plain")).to_series()


def _attribute_texts(column: SaleColumn) -> list[str]:
    """Return the values that a column of the configuration takes in turn, a missing one first."""
    if column.accepted:
        return [cases.quoted(each) for each in column.accepted]
    if column.kind == "boolean":
        return ["", "true", "false"]
    numbers = range(1, 16)
    if column.kind == "decimal":
        return ["", *(f"{Decimal(each * 7 - 20).scaleb(-column.scale):f}" for each in numbers)]
    if column.kind == "date":
        return ["", *((_START + timedelta(days=each)).isoformat() for each in numbers)]
    start = f"{column.name} " if column.kind == "text" else ""
    return ["", *(f"{start}{each}" for each in numbers)]


def _product_names(prefix: str, products: int) -> list[str]:
    start = f"{prefix} " if prefix and not prefix[-1].isspace() else prefix
    names = [
        f"{start}{_NOUNS[number % len(_NOUNS)]}"
        + (f" {number // len(_NOUNS) + 1}" if number >= len(_NOUNS) else "")
        for number in range(products)
    ]
    return [cases.quoted(name) for name in (*names[:-1], f"{names[-1]}, black")]
