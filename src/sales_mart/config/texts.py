"""What a value must be that is no plain text or number: checked here, once for all keys.

No message repeats the value, which may be a secret in the wrong place.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from sales_mart.warehouses.base import names

__all__ = [
    "OWN_TABLES",
    "Address",
    "Database",
    "ExactDecimal",
    "Identifier",
    "Project",
    "SecretName",
    "TargetName",
    "Zone",
    "is_own_table",
]

OWN_TABLES = (
    *("load_runs", "publications", "published_slices", "target_lock"),
    *("sales_by_product_month", "stg_transactions"),
)
"""What stands beside the raw table, in either warehouse."""
_LONGEST_SECRET_NAME = 253


def _not_reserved(name: str) -> str:
    if name.lower().startswith("pg_"):
        msg = "must not start with 'pg_', which PostgreSQL reserves"
        raise ValueError(msg)
    if name.lower() == "information_schema":
        msg = "must not be 'information_schema', which the warehouses reserve"
        raise ValueError(msg)
    return name


def is_own_table(name: str) -> bool:
    """Return whether a table of this name beside the raw table may be one that we make.

    dbt drops names that end in `__dbt_tmp`, and does not tell upper from lower case.
    """
    lower = name.lower()
    return (
        lower in OWN_TABLES
        or lower.startswith(("sales_mart_", *(f"{own}_" for own in OWN_TABLES)))
        or lower.endswith(("__dbt_tmp", "__dbt_backup"))
        or re.fullmatch("staging_[0-9a-f]+", lower) is not None
    )


def _is_project(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", name):
        msg = "must be the id of a project, such as 'my-project-123'"
        raise ValueError(msg)
    return name


# A user before a host, a connection string of libpq, a signed address.
_LOGIN = re.compile(
    r"://[^/?#]*@|password\s*=|^postgres(?:ql)?:|[?&](?:x-amz-|x-goog-)?(?:sig|signature|token)=",
    re.IGNORECASE,
)


def _no_login(text: str) -> str:
    if _LOGIN.search(text):
        msg = "must not contain a user, a password or a signature, since messages show it"
        raise ValueError(msg)
    return text


def _no_quotes(name: str) -> str:
    # dbt's adapter writes the name of the database into statements without escaping it.
    if "'" in name or '"' in name:
        msg = "must not contain quotes"
        raise ValueError(msg)
    return name


def _is_secret_name(name: str) -> str:
    label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    if name and (
        len(name) > _LONGEST_SECRET_NAME or not re.fullmatch(rf"{label}(\.{label})*", name)
    ):
        msg = "must be the name of a Kubernetes secret, such as 'postgres-credentials'"
        raise ValueError(msg)
    return name


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        msg = "must be a time zone of the IANA database, such as 'Asia/Jakarta'"
        raise ValueError(msg) from error
    return name


def _is_target(name: str) -> str:
    if name not in names():
        *others, last = (repr(each) for each in names())
        expected = f"{', '.join(others)} or {last}" if others else last
        kind = "enum"
        raise PydanticCustomError(kind, "Input should be {expected}", {"expected": expected})
    return name


def _list_targets(schema: dict[str, Any]) -> None:
    schema["enum"] = list(names())


def _shortest_text(value: object) -> object:
    """Read a YAML float by its shortest text, so that `10.1` is exactly 10.1."""
    return repr(value) if isinstance(value, float) else value


Identifier = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,56}$"), AfterValidator(_not_reserved)
]
"""A table, schema or dataset name that is safe in both warehouses, short enough for suffixes."""
Project = Annotated[str, AfterValidator(_is_project)]
"""Id of a Google Cloud project."""
Address = Annotated[str, AfterValidator(_no_login)]
"""An address or a place that messages name."""
Database = Annotated[Address, AfterValidator(_no_quotes)]
"""Name of a database, which messages name too."""
SecretName = Annotated[str, AfterValidator(_is_secret_name)]
"""Name of a Kubernetes secret, or nothing."""
TargetName = Annotated[str, AfterValidator(_is_target), Field(json_schema_extra=_list_targets)]
"""Name of a warehouse that is installed."""
Zone = Annotated[str, AfterValidator(_is_zone)]
"""Name of a time zone."""
ExactDecimal = Annotated[Decimal, BeforeValidator(_shortest_text)]
"""A number whose decimals are those that are written."""
