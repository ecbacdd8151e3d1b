"""Settings of all kinds, and what must hold for whatever comes of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import strategies as st

from sales_mart.config.file import load_with_origins
from sales_mart.config.keys import keys
from sales_mart.config.report import chart_values, effective
from sales_mart.control_characters import escape_control_characters
from sales_mart.dbt_runner.process import variables
from sales_mart.errors import ConfigurationError
from sales_mart.rows.checker import Checker
from sales_mart.rows.tokens import Tokeniser
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config

KEYS = list(keys().values())
HOSTILE = (
    *(
        "'; drop table x; --",
        "{{ env_var('HOME') }}",
        "{% raw %}",
        "{#",
        "%",
        "%s",
        "_",
        "\\",
        "$(id)",
    ),
    *(
        "`id`",
        "a\nb",
        "\r",
        "\t",
        "\0",
        "\x1b[31m",
        "\u202e",
        "\U0001f600",
        "\ud800",
        "\ufeff",
        " ",
    ),
    *(
        "~nobody-of-this-name/x",
        "x" * 5000,
        "[",
        "[z-a]",
        "[!a]*",
        "a**b",
        "**",
        "gs://",
        "gs://b/[\\]",
    ),
    *(
        "../../etc/passwd",
        "/",
        ".",
        "",
        "-0",
        "1e400",
        "-1",
        "9" * 5000,
        ".nan",
        ".inf",
        "1e-9",
        "0x1F",
    ),
    *(
        "NaN",
        "Infinity",
        "1_000",
        "1:30",
        "null",
        "yes",
        "2023-02-30",
        "{date}",
        "é",
        "[]",
        "{}",
        "pg_x",
    ),
)
TAGS = (
    "!!int",
    "!!float",
    "!!bool",
    "!!null",
    "!!timestamp",
    "!!binary",
    "!!set",
    "!!omap",
    "!x",
    "!!python/name:os.system",
    "!!str",
    "!!merge",
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))
scalars = st.one_of(
    texts, st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.binary(max_size=6)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def settings_of(draw: st.DrawFn) -> dict[str, Any]:
    """Give sections of known keys with any values, and now and then an unknown key."""
    chosen: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=4)):
        place = chosen
        for name in key.path[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                break
        else:
            place[key.path[-1]] = draw(values)
    if draw(st.integers(0, 9)) == 9:
        chosen[draw(texts)] = draw(values)
    return chosen


@st.composite
def yaml_files(draw: st.DrawFn) -> bytes:
    """Give YAML of the right shape, cut, spliced and tagged; or anything."""
    if draw(st.integers(0, 9)) == 9:
        return draw(st.binary(max_size=60))
    text = yaml.dump(draw(settings_of()), allow_unicode=draw(st.booleans()))
    pieces = [
        "&a ",
        "*a",
        "<<: *a\n",
        "<<: [*a, *a]\n",
        "<<: 1\n",
        "? ",
        "- ",
        ": ",
        "{",
        "[",
        "'",
        '"',
        "|\n",
        "%YAML 9\n",
        "---\n",
        "\t",
        "#",
    ]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        tag = draw(st.sampled_from(TAGS)) + " "
        text = text[:place] + draw(st.sampled_from([*pieces, tag])) + text[place:]
    return text.encode("utf-8", "surrogatepass")


def uses(config: Config) -> None:
    """Do with a configuration what a run does before it meets a server."""
    Checker(config, Tokeniser())
    for target in Target:
        made = variables(config, target)
        assert re.fullmatch(r"[0-9]+([.][0-9]+)?", made["min_price"])
    assert re.fullmatch("[0-9a-f]{64}", config.digest)
    json.dumps(chart_values(config))
    json.dumps(effective(config, dict.fromkeys((key.dotted for key in KEYS), "x")))


def check_refusal(error: ConfigurationError) -> None:
    assert error.exit_code == 2
    assert error.remedy
    assert error.message
    assert len(error.message) < 20_000
    assert escape_control_characters(error.message).encode()


def load(path: Path | None = None, overrides: Any = None, environ: Any = None) -> Config | None:
    try:
        config, _ = load_with_origins(path, overrides, environ or {})
    except ConfigurationError as error:
        check_refusal(error)
        return None
    uses(config)
    return config


def check_file(folder: Path, data: bytes) -> None:
    path = folder / "c.yaml"
    path.write_bytes(data)
    load(path)


names = st.one_of(
    st.sampled_from(KEYS).map(lambda key: key.variable),
    st.sampled_from(KEYS).map(lambda key: key.variable.rpartition("__")[0]),
    st.text("ABC_abc\u0130é", max_size=8).map("SALES_MART_{}".format),
)
variable_texts = st.one_of(texts, values.map(lambda value: json.dumps(value, default=str)))


def check_environment(environ: dict[str, str]) -> None:
    load(None, None, {"SALES_MART_CONFIG": "", **environ})
