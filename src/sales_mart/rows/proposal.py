"""A proposal of settings: what a file decides, with the reason, and what it leaves to its owner."""

from __future__ import annotations

import json
import re
import textwrap
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Choice", "Proposal", "Question", "Setting", "as_yaml", "counted", "quoted"]

_WIDTH = 96
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]*[A-Za-z0-9_]|[A-Za-z]")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Setting(_Frozen):
    """A key that the file decides.

    Attributes:
        key: Its dotted name.
        value: Its value.
        reason: What it was concluded from.
    """

    key: str
    value: Any
    reason: str


class Choice(_Frozen):
    """One of the answers to a question.

    Attributes:
        values: Dotted key -> value to give it.
        meaning: What it says of the file.
    """

    values: dict[str, Any]
    meaning: str = ""


class Question(_Frozen):
    """What a file does not decide.

    Attributes:
        key: Dotted name of the key that answers it.
        text: The question.
        choices: Answers, the likelier one first.
        without: What happens when no choice is made.
        is_open: A run goes wrong, or ends, without an answer; else an answer only adds something.
        is_assumed: The preview is made with the first choice.
    """

    key: str
    text: str
    choices: tuple[Choice, ...]
    without: str
    is_open: bool = True
    is_assumed: bool = False


class Proposal(_Frozen):
    """What to write under `ingestion`."""

    settings: tuple[Setting, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def open(self) -> tuple[Question, ...]:
        """The questions that have to be answered before a run."""
        return tuple(each for each in self.questions if each.is_open)

    def values(self, *, assumed: bool) -> dict[str, Any]:
        """Return the settings as the configuration nests them.

        Args:
            assumed: With the first choice of each question that nothing can be read without.
        """
        made: dict[str, Any] = {}
        chosen = [(each.key, each.value) for each in self.settings]
        if assumed:
            firsts = [each.choices[0] for each in self.questions if each.is_assumed]
            chosen += [pair for each in firsts for pair in each.values.items()]
        for key, value in chosen:
            *path, name = key.split(".")
            place = made
            for each in path:
                place = place.setdefault(each, {})
            place[name] = value
        return made

    def lines(self, key: str) -> list[str]:
        """Return the YAML of a key, with its reason and the commented choices."""
        made: list[str] = []
        settings = [each for each in self.settings if each.key == key]
        for setting in settings:
            made += _comment(setting.reason)
            made.append(_line(setting.key, key, setting.value))
        for question in self.questions:
            if question.key != key:
                continue
            head = "OPEN" if question.is_open else "OPTIONAL"
            how = " Put one of these lines in the place of the one above." * bool(settings)
            made += _comment(f"{head}: {question.text} {question.without}{how}")
            for choice in question.choices:
                inner = [_line(name, key, value) for name, value in choice.values.items()]
                meaning = f"  # {choice.meaning}" if choice.meaning else ""
                made += [f"# {each}" for each in (*inner[:-1], f"{inner[-1]}{meaning}")]
        return made

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are proposed or asked for, and those that a choice may set."""
        found = [each.key for each in self.settings]
        for question in self.questions:
            found += [question.key, *(key for each in question.choices for key in each.values)]
        return tuple(dict.fromkeys(found))

    def yaml(self) -> str:
        """Return the section `ingestion` as YAML, with reasons and choices as comments."""
        made: list[str] = []
        for section in ("format", "columns", "attributes", "validation"):
            keys = [each for each in self.keys if each.startswith(f"ingestion.{section}.")]
            inner = [line for key in keys for line in self.lines(key)]
            if inner:
                made += [f"  {_hidden(inner)}{section}:", *(f"    {line}" for line in inner)]
        if not made:
            return "# ingestion: nothing to set, the defaults fit\n"
        return "".join(f"{line}\n" for line in (f"{_hidden(made)}ingestion:", *made))


def _hidden(lines: Sequence[str]) -> str:
    """Return what comments a section out in which nothing is set: it would have no value."""
    return "# " if all(line.lstrip().startswith("#") for line in lines) else ""


def counted(count: int, one: str, many: str) -> str:
    """Return a number with the words for one or for many."""
    return f"{count:,} {one if count == 1 else many}"


def quoted(name: str) -> str:
    """Return the name of a column as sentences have it: in quotes, on one line."""
    return '"' + "".join(map(_escaped, name)) + '"'


def _line(key: str, beside: str, value: object) -> str:
    """Return a key with its value; one of another section with its whole name."""
    place, _, name = key.rpartition(".")
    return f"{name if place == beside.rpartition('.')[0] else key}: {as_yaml(value)}"


def as_yaml(value: object) -> str:
    """Return a value as YAML on one line, which reads back as the same value."""
    if isinstance(value, dict):
        inner = (f"{as_yaml(name)}: {as_yaml(each)}" for name, each in _items(value))
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_yaml(each) for each in _each(value)) + "]"
    if isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, Decimal):
        return str(value)
    if not isinstance(value, str):
        return json.dumps(value)
    return quoted(value)


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter == "\t":
        return "\\t"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _items(value: Any) -> Iterator[tuple[object, object]]:
    yield from value.items()


def _each(value: Any) -> Iterator[object]:
    yield from value


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
