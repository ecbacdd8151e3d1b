"""Nothing that a name holds reaches a terminal as anything but text."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_mart import logs
from sales_mart.cli import main
from sales_mart.cli.output import print_data, table
from sales_mart.control_characters import escape_control_characters, escape_json

HOSTILE = "Halal\x1b[2J\x1b]0;x\x07\x9b31m\r\x08\x7f\u202egpj\u2066\u2028\ud800 \U0001f600é"
ANY = st.text(st.characters(), max_size=20)


def harmful(text: str, allowed: str = "\n") -> list[str]:
    return [
        character
        for character in text
        if character not in allowed
        and (
            unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
            or unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF")
            or unicodedata.bidirectional(character) in ("LRI", "RLI", "FSI", "PDI")
        )
    ]


@given(ANY)
def test_any_text_is_made_visible(text: str) -> None:
    assert harmful(escape_control_characters(text)) == []
    assert harmful(escape_control_characters(text, on_one_line=True), "") == []
    assert harmful(escape_json({"key": text})) == []
    assert json.loads(escape_json([text])) == [text]


def test_what_can_be_seen_stays() -> None:
    assert (
        escape_control_characters("Halal é \U0001f600 \u0644\u062d\nx")
        == "Halal é \U0001f600 \u0644\u062d\nx"
    )
    assert (
        escape_control_characters("a\x1b[1m\u202e\u0085", on_one_line=True) == r"a\x1b[1m\u202e\x85"
    )


def test_tables_hold_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(HOSTILE, 1), ("two\nlines", 2)]
    print_data(HOSTILE, table(HOSTILE, ("product", HOSTILE), rows))
    out = capsys.readouterr().out
    assert harmful(out) == []
    assert r"two\nlines" in out
    assert "\U0001f600" in out


@pytest.mark.parametrize("as_json", [True, False])
def test_logs_hold_none(*, as_json: bool) -> None:
    stream = io.StringIO()
    logs.configure(as_json=as_json, stream=stream)
    logging.getLogger("sales_mart").warning("columns are ignored: %s", HOSTILE)
    assert harmful(stream.getvalue()) == []
    assert "columns" in stream.getvalue()


@pytest.mark.parametrize("output", ["text", "json"])
def test_errors_hold_none(capsys: pytest.CaptureFixture[str], output: str) -> None:
    code = main(["validate", "--run-id", HOSTILE, "--lake", HOSTILE, "--output", output])
    assert code == 2
    out, log = capsys.readouterr()
    assert harmful(out + log) == []
    assert r"\x1b" in log or r"\u001b" in log
