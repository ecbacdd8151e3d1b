"""Requests that schemathesis makes of the API's own document, to break it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api_server import serving
from conformance.subject import D1, D2, Subject
from support import row

if TYPE_CHECKING:
    from pathlib import Path

    from sales_mart.config import Config


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
"""What schemathesis looks at."""
EACH = int(os.environ.get("API_REQUESTS", "500")) // 20
"""Requests for each path, of the two kinds: as its document has them, and otherwise."""


def test_hostile_requests_find_no_error_of_the_server(config: Config, lake: Path) -> None:
    """Of paths and parameters that follow the API's own document, and that break it."""
    subject = Subject("duckdb", config, lake)
    subject.published("a", [row("T1", D1), row("T2", D2, "5.25", 3)])
    asked = 0
    with serving(config, subject.name) as api:
        document = schemathesis.openapi.from_url(f"{api.url}/openapi.json")

        def attack(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(session=api.session)
            case.validate_response(answer, checks=CHECKS)

        for found in document.get_all_operations():
            assert isinstance(found, Ok)
            for mode in GenerationMode:
                options = settings(
                    max_examples=EACH,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                )
                cases = found.ok().as_strategy(generation_mode=mode)
                with suppress(Unsatisfiable):  # nothing breaks what takes no parameters
                    options(given(case=cases)(attack))()
        assert asked > EACH * 10
        assert api.metric("sales_mart_api_warehouse_up") == 1
