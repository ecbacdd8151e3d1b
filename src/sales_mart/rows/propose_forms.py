"""Propose how the numbers and dates of a sample are written."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from sales_mart.rows.number_forms import Numbers
from sales_mart.rows.numbers import OTHER_CURRENCY, UNREADABLE, NumberForm, plain_numbers
from sales_mart.rows.proposal import Choice, Question, Setting, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_mart.rows.columns_seen import SeenColumn

__all__ = ["Findings", "decimals_of", "number_form", "propose_dates", "propose_numbers"]

_FORMAT = "ingestion.format"
_MARKS = {".": "a point", ",": "a comma", " ": "a space", "'": "an apostrophe", "_": "a low line"}
_MOST_SIGNS = 4
_DEFAULT_DATES = ("%Y-%m-%d",)


class Findings:
    """Settings and questions, as they are found."""

    def __init__(self) -> None:
        """Begin with none."""
        self.settings: list[Setting] = []
        self.questions: list[Question] = []

    def decide(self, key: str, value: object, reason: str) -> None:
        """Note what the file decides."""
        self.settings.append(Setting(key=key, value=value, reason=reason))

    def ask(  # noqa: PLR0913 - the parts of a question
        self,
        key: str,
        text: str,
        choices: Sequence[Choice],
        without: str,
        *,
        is_open: bool = True,
        is_assumed: bool = False,
    ) -> None:
        """Note what the file does not decide."""
        self.questions.append(
            Question(
                key=key,
                text=text,
                choices=tuple(choices),
                without=without,
                is_open=is_open,
                is_assumed=is_assumed and bool(choices),
            )
        )

    @property
    def assumed(self) -> dict[str, object]:
        """What a first look takes for granted: what is decided, then the first choices."""
        made = {each.key: each.value for each in self.settings}
        for question in self.questions:
            if question.is_assumed:
                made |= question.choices[0].values
        return made


def one(key: str, value: object, meaning: str = "") -> Choice:
    """Return a choice of one key."""
    return Choice(values={key: value}, meaning=meaning)


def propose_numbers(
    found: Findings, numbers: Sequence[SeenColumn], money: Sequence[SeenColumn]
) -> None:
    """Propose decimal mark, groups of digits, currency sign and null words.

    Args:
        found: Told what is found.
        numbers: The columns that are read as numbers.
        money: Those of them that hold amounts of money.
    """
    all_of_them = Numbers()
    for column in (each for each in numbers if not each.is_typed):
        all_of_them.add(column.numbers)
    _propose_decimals(found, all_of_them)
    signs: Counter[str] = Counter()
    for column in (each for each in money if not each.is_typed):
        signs.update(column.numbers.signs)
    if signs:
        _propose_sign(found, signs)


def _propose_decimals(found: Findings, seen: Numbers) -> None:
    key, groups_key = f"{_FORMAT}.decimal_separator", f"{_FORMAT}.thousands"
    point, comma = seen.decimals["."], seen.decimals[","]
    if point and comma:
        found.ask(
            key,
            f"{counted(comma, 'number has', 'numbers have')} a decimal comma, and {point:,} a "
            "decimal point.",
            [
                one(key, mark, f"reads {count:,} of them")
                for count, mark in sorted([(comma, ","), (point, ".")], reverse=True)
            ],
            "Without an answer the point counts, and the others are rejected.",
            is_assumed=True,
        )
        return
    decimal = "," if comma else "."
    unclear = +seen.unclear
    if not point and not comma and len(unclear) == 1:
        (mark,) = unclear
        other = "." if mark == "," else ","
        grouped = {groups_key: mark} if mark == "," else {key: other, groups_key: mark}
        as_decimal = Choice(values={key: mark}, meaning=f"1{mark}234 is a little more than 1")
        as_group = Choice(values=grouped, meaning=f"1{mark}234 is more than a thousand")
        found.ask(
            key,
            f"{counted(unclear[mark], 'number has', 'numbers have')} {_MARKS[mark]} before three "
            "digits, which may be the decimal mark or stand between thousands.",
            [as_group, as_decimal],
            "Without an answer a point is the decimal mark, and a comma is rejected.",
            is_assumed=True,
        )
        return
    if comma:
        found.decide(key, ",", f"{counted(comma, 'number', 'numbers')} can only be read so.")
    groups = Counter({mark: count for mark, count in seen.groups.items() if mark != decimal})
    groups.update({mark: count for mark, count in unclear.items() if mark != decimal})
    if len(groups) == 1:
        ((mark, count),) = groups.items()
        many = counted(count, "number has", "numbers have")
        says = f"{many} {_MARKS[mark]} between groups of three digits."
        found.decide(groups_key, mark, says)
    elif groups:
        found.ask(
            groups_key,
            "Several marks stand between thousands.",
            [one(groups_key, mark, f"reads {n:,} of them") for mark, n in groups.most_common()],
            "Without an answer all of these numbers are rejected.",
            is_assumed=True,
        )


def _propose_sign(found: Findings, signs: Counter[str]) -> None:
    key = f"{_FORMAT}.currency_sign"
    if len(signs) == 1:
        ((sign, count),) = signs.items()
        found.decide(
            key, sign, f"{counted(count, 'amount has', 'amounts have')} it, and none has another."
        )
        return
    found.ask(
        key,
        f"Amounts have {len(signs)} different signs or codes of currencies, and different "
        "currencies cannot be added.",
        [one(key, sign, f"{count:,} of them") for sign, count in signs.most_common(_MOST_SIGNS)],
        "Those with another sign than the one that is set are rejected.",
        is_assumed=True,
    )


def propose_null_words(
    found: Findings, typed: Sequence[SeenColumn], texts: Sequence[SeenColumn]
) -> None:
    """Propose the words that stand for missing values.

    Args:
        found: Told what is found.
        typed: The columns that are read as numbers or dates, where a word can mean nothing else.
        texts: Other columns that are read.
    """
    key = f"{_FORMAT}.null_values"
    words: dict[str, None] = {}
    for column in typed:
        words |= dict.fromkeys(column.numbers.null_words)
    if words:
        found.decide(key, list(words), "Seen in columns that otherwise hold numbers or dates.")
    others: dict[str, None] = {}
    for column in texts:
        others |= dict.fromkeys(each for each in column.numbers.null_words if each not in words)
    if others:
        found.ask(
            key,
            "Words that may mean that a text is missing were seen.",
            [one(key, [*words, *others])],
            "Without an answer they stand as they are.",
            is_open=False,
        )


def propose_dates(found: Findings, column: SeenColumn) -> None:
    """Propose the forms of the dates, and ask where a day may be a month."""
    key = f"{_FORMAT}.date_format"
    dates = column.dates
    if dates.decided and not column.is_typed and dates.decided != _DEFAULT_DATES:
        found.decide(
            key,
            list(dates.decided),
            "Each reads texts that no other form reads (a day above 12, the name of a month, or "
            "the year first).",
        )
    if dates.open and not column.is_typed:
        firsts = [each for each in dates.decided if each.startswith(("%d", "%m"))]
        is_month_first = bool(firsts) and all(each.startswith("%m") for each in firsts)
        lists = [[*dates.decided, *(formats[which] for formats in dates.open)] for which in (0, -1)]
        days, months = (
            one(key, formats, meaning)
            for formats, meaning in zip(
                lists, ("the day stands first", "the month stands first"), strict=True
            )
        )
        found.ask(
            key,
            "Some dates, such as 03/04/2024, can be read with the day or with the month first.",
            [months, days] if is_month_first else [days, months],
            "Without an answer these rows are rejected (date_format).",
            is_assumed=True,
        )
    if dates.has_offset:
        _ask_for_the_zone(found, column)


def _ask_for_the_zone(found: Findings, column: SeenColumn) -> None:
    offsets = {_offset(text) for text, _ in column.counts} - {""}
    is_local = len(offsets) == 1 and not offsets & {"Z", "UTC", "GMT", "+0000"}
    key = f"{_FORMAT}.timezone"
    found.ask(
        key,
        "Times say how far they are from UTC; which day they fall on depends on the time zone "
        "of the shop.",
        [one(key, "UTC", "or Asia/Jakarta, Europe/Berlin, …")],
        "Without an answer the day counts as it is written.",
        is_open=not is_local,
    )


def _offset(text: str) -> str:
    for name in ("Z", "UTC", "GMT"):
        if text.endswith(name):
            return name
    tail = text.rpartition(":")[2] if ":" in text else ""
    place = max(text.rfind("+"), text.rfind("-"))
    return text[place:].replace(":", "") if place > 0 and tail and place > text.find(":") else ""


def number_form(settings: Mapping[str, object]) -> NumberForm:
    """Return how numbers are written by some settings."""

    def setting(name: str) -> str | None:
        value = settings.get(f"{_FORMAT}.{name}")
        return value if isinstance(value, str) else None

    return NumberForm(
        decimal=setting("decimal_separator") or ".",
        thousands=setting("thousands"),
        currency=setting("currency_sign"),
    )


def decimals_of(column: SeenColumn, form: NumberForm) -> list[Decimal | None]:
    """Return the numbers of a column, row by row; None where there is none in this form."""
    distinct = column.texts.unique().drop_nulls()
    plain = plain_numbers(distinct, form, is_typed=column.is_typed).to_list()
    known: dict[str | None, Decimal | None] = {
        text: None if read in {UNREADABLE, OTHER_CURRENCY, None} else Decimal(read)
        for text, read in zip(distinct.to_list(), plain, strict=True)
    }
    return [known.get(text) for text in column.texts.to_list()]
