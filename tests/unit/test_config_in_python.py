"""A configuration that is written in Python is refused in our words."""

from __future__ import annotations

from typing import Any

import pytest

from sales_mart import Config, ConfigurationError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secruity": {}}, "Config: secruity is not a key; did you mean security?"),
        ({"security": {"algoritm": "x"}}, "did you mean security.algorithm?"),
        ({"security": {"algorithm": "hmac-sha265"}}, "did you mean hmac-sha256?"),
        ({"security": {"pii_fields": ["transaction_id", "email"]}}, "names what is no attribute"),
        ({"security": "hunter2"}, "Config: security: must be"),
        ({"data_warehouse": {"targets": ["postgre"]}}, "did you mean postgres?"),
        ({"data_warehouse": {"postgres": {"pasword": "hunter2"}}}, "postgres.password?"),
        ({"ingestion": {"attributes": {"store": {"typ": "text"}}}}, "attributes.store.type?"),
        ({"data_mart": {"dataset": "transactions_warehouse"}}, "must differ"),
    ],
)
def test_a_wrong_key_or_value_says_what_is_meant(given: dict[str, Any], said: str) -> None:
    for make in (lambda: Config(**given), lambda: Config.model_validate(given)):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert said in str(caught.value)
        assert caught.value.remedy
        assert "hunter2" not in f"{caught.value}{caught.value.details}"
        assert caught.value.__suppress_context__
