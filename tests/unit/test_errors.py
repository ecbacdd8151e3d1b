"""The error tree: every error has an exit code, and survives a trip between processes."""

from __future__ import annotations

import pickle

import pytest

from sales_mart import errors
from sales_mart.cli import process
from sales_mart.errors import SalesMartError

TREE = [
    error
    for name in errors.__all__
    if isinstance(error := getattr(errors, name), type) and issubclass(error, SalesMartError)
]


def test_exit_codes_are_the_documented_ones() -> None:
    assert {error.__name__: error.exit_code for error in TREE} == {
        "SalesMartError": 1,
        "UnexpectedError": 1,
        "ConfigurationError": 2,
        "DataError": 65,
        "EmptyInputError": 65,
        "MartsChangedError": 65,
        "NoSourceObjectError": 65,
        "ReconciliationError": 65,
        "RejectedShareError": 65,
        "SourceChangedError": 65,
        "SourceFormatError": 65,
        "SourceNotReadyError": 75,
        "SupersededError": 65,
        "TestFailedError": 65,
        "TemporaryError": 75,
    }
    documented = errors.__doc__ or ""
    for error in TREE:
        assert f"| {error.exit_code} |" in documented


def test_every_exit_code_of_the_command_line_is_documented() -> None:
    documented = errors.__doc__ or ""
    for code in (process.USAGE, process.INTERRUPTED, process.TERMINATED, process.PIPE_CLOSED):
        assert f"| {code} |" in documented


def test_every_kind_of_error_says_what_helps() -> None:
    advice = [error.advice for error in TREE]
    assert len(set(advice)) == len(TREE)
    assert all(each.endswith(".") for each in advice)


@pytest.mark.parametrize("kind", TREE)
def test_an_error_is_picklable(kind: type[SalesMartError]) -> None:
    error = kind("what", remedy="how", details={"sqlstate": "40001"})
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is kind
    assert (again.message, again.remedy, again.details) == ("what", "how", {"sqlstate": "40001"})
    assert str(again) == "what"
