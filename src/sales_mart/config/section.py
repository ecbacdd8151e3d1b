"""What every section of the configuration is: frozen, documented, and silent about its values."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, field_validator

__all__ = ["CHART", "NOT_FOR_PODS", "ONE_OR_MANY", "UNSHOWN", "Section", "list_of_one"]


def list_of_one(value: Any) -> Any:
    """Return the list that a text stands for; a list as it is."""
    return [value] if isinstance(value, str) else value


ONE_OR_MANY = BeforeValidator(list_of_one, json_schema_input_type=str | tuple[str, ...])
"""Marks a list for which its only text may stand."""

CHART: dict[str, Any] = {"effect": "chart"}
"""Marks a key that only `config values` reads, for the chart's values."""
UNSHOWN: dict[str, Any] = {"writeOnly": True}
"""Marks a key that names a file with a secret, and may hold the secret by mistake."""
NOT_FOR_PODS: dict[str, Any] = {"local": True}
"""Marks a key that the chart's values set for pods, beside those that hold secrets."""


class Section(BaseModel):
    """A section: its fields are keys, and their docstrings say what they mean."""

    # A value in the wrong place may be a password.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    @field_validator("*")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(text, str) and "\0" in text:
            msg = "must not contain a NUL character"
            raise ValueError(msg)
        return value
