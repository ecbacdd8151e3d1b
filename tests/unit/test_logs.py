"""Logs: JSON for machines, lines for people, never the text of an exception."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from sales_mart import logs
from sales_mart.errors import DataError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Generator

LOG = logging.getLogger("sales_mart.some.module")


@pytest.fixture(autouse=True)
def restored() -> Generator[None]:
    """Leave the loggers as they were."""
    logger = logging.getLogger("sales_mart")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_lines_name_the_run_and_the_step() -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    with logs.at_step("run", "r1"):
        with logs.at_step("seal"):
            LOG.info("%d parts", 3, extra={"rows": 5})
        LOG.debug("not shown")
        LOG.warning("two\nlines")
    LOG.error("outside")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["run_id"], line["step"], line["level"], line["message"]) for line in lines] == [
        ("r1", "seal", "info", "3 parts"),
        ("r1", "run", "warning", "two\nlines"),
        (None, None, "error", "outside"),
    ]
    assert lines[0]["rows"] == 5
    assert lines[0]["logger"] == "sales_mart.some.module"
    assert lines[0]["time"].endswith("Z")


def test_a_terminal_gets_lines_for_people() -> None:
    out = _Terminal()
    logs.configure(stream=out)
    with logs.at_step("seal", "r1"):
        LOG.info("3 parts")
        LOG.warning("odd")
    assert out.getvalue() == "seal: 3 parts\nwarning: seal: odd\n"


@pytest.mark.parametrize("as_json", [True, False])
def test_an_exception_is_logged_without_its_text(*, as_json: bool) -> None:
    out = io.StringIO()
    logs.configure("debug", as_json=as_json, stream=out)
    try:
        try:
            int("T-SECRET-1")
        except ValueError as error:
            msg = f"row T-SECRET-2: {error}"
            raise RuntimeError(msg) from error
    except RuntimeError:
        LOG.exception("failed")
    assert "SECRET" not in out.getvalue()
    assert "RuntimeError" in out.getvalue()
    assert "test_logs.py" in out.getvalue()


def test_other_libraries_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    logging.getLogger("google.auth").warning("value of a row")
    assert out.getvalue() == ""
    assert "value of a row" not in capsys.readouterr().err


def test_threads_name_their_own_steps() -> None:
    out = io.StringIO()
    logs.configure(stream=out)

    def work(step: str) -> None:
        with logs.at_step(step, "r1"):
            LOG.info("here")

    threads = [threading.Thread(target=work, args=(f"load-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steps = {json.loads(line)["step"] for line in out.getvalue().splitlines()}
    assert steps == {f"load-{n}" for n in range(4)}


def test_errors_beside_the_reported_one_are_logged_without_a_library_s_words() -> None:
    out = io.StringIO()
    logs.configure(stream=out)
    reported = KeyError("never")
    later = TemporaryError("later", remedy="Again.", details={"step": "load-postgres"})
    assert (
        logs.most_severe([later, DataError("data"), reported, KeyError("T-SECRET-1")]) is reported
    )
    first, second, third = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["message"], first["remedy"], first["exit_code"]) == ("later", "Again.", 75)
    assert first["details"] == {"step": "load-postgres"}
    assert (second["message"], third["message"]) == ("data", "unexpected KeyError")
    assert "SECRET" not in out.getvalue()
