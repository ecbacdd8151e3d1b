"""The routes, and what they say of themselves by OpenAPI."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from sales_mart import __version__
from sales_mart.api.answers import HTML, MEDIA_TYPES, Answer, chosen_form, json_schema
from sales_mart.api.front_page import front_page
from sales_mart.api.gateway import ANSWER, Gateway
from sales_mart.api.limits import Rate
from sales_mart.api.metrics import CONTENT_TYPE, Metrics
from sales_mart.api.problems import PROBLEM, PROBLEM_SCHEMA, ProblemError
from sales_mart.api.question import Question
from sales_mart.api.runs import run_questions
from sales_mart.api.sales import sales_questions
from sales_mart.api.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from sales_mart.api.keys import Keys
    from sales_mart.config.api import Api
    from sales_mart.warehouses.base import Warehouse

__all__ = ["make_api"]

_PROBLEMS = {
    401: "The key is missing or unknown.",
    404: "There is no such thing.",
    406: "None of the forms is accepted.",
    422: "A parameter is wrong, or is not known.",
    429: "Too many requests with this key.",
    503: "The warehouse does not answer, or nothing has been published.",
}


def make_api(warehouse: Warehouse, limits: Api, keys: Keys | None) -> Gateway:
    """Return the API of a warehouse as an application of ASGI."""
    metrics = Metrics()
    service = Service(warehouse, limits, metrics)
    metrics.show(service.publications)

    @asynccontextmanager
    async def until_the_end(_: FastAPI) -> AsyncGenerator[None]:
        yield
        service.close()

    app = FastAPI(
        title="sales_mart",
        version=__version__,
        description="The published marts: each answer is of one publication, which its ETag names.",
        docs_url=None,
        redoc_url=None,
        lifespan=until_the_end,
    )
    questions = (*sales_questions(warehouse), *run_questions(warehouse))
    page = front_page(warehouse, [question.path for question in questions])
    for question in (page, *questions):
        app.add_api_route(
            question.path,
            _route(service, question),
            methods=["GET"],
            summary=question.title,
            responses=_responses(question),
            response_class=Response,
        )
    _add_others(app, service, metrics)
    for kind in (RequestValidationError, HTTPException, ProblemError, Exception):
        app.add_exception_handler(kind, _refused)
    if keys is not None:
        _describe_keys(app)
    rate = Rate(limits.requests_per_minute)
    return Gateway(app, service.publications, metrics, rate, keys, limits.refresh_seconds)


class _Left(Response):
    """A response that sends nothing: it leaves its answer, or its problem, to the gateway."""

    def __init__(self, answer: Answer | ProblemError) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI
        """Leave it."""
        scope[ANSWER] = self._answer


def _route(service: Service, question: Question) -> Callable[..., Coroutine[Any, Any, Response]]:
    """Return the function of a route, with the parameters of its question."""

    async def answer(request: Request, asked: Any, **in_path: str) -> Response:
        is_page = question.page is not None
        form = "html" if is_page else chosen_form(request.headers.get("accept", ""))
        values = tuple(in_path[name] for name in question.in_path)
        return _Left(await service.answer(question, asked, values, form))

    by_name = {
        "request": Request,
        "asked": Annotated[question.parameters, Query()],
        **{name: Annotated[kind, Path()] for name, kind in question.in_path.items()},
    }
    signature = Signature(
        [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in by_name.items()]
    )
    answer.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    name = question.path.strip("/") or "front page"
    answer.__name__ = re.sub(r"[^a-z_]+", "_", name).strip("_")
    return answer


def _responses(question: Question) -> dict[int | str, dict[str, Any]]:
    shape: dict[str, dict[str, Any]] = {
        "json": json_schema(question.columns),
        "csv": {"type": "string"},
        "parquet": {"type": "string", "format": "binary"},
    }
    content = {kind: {"schema": shape[form]} for form, kind in MEDIA_TYPES.items()}
    if question.page is not None:
        content = {HTML: {"schema": {"type": "string"}}}
    problem = {PROBLEM: {"schema": PROBLEM_SCHEMA}}
    return {
        200: {"description": question.title, "content": content},
        304: {"description": "The client has it already, by its ETag."},
        **{status: {"description": text, "content": problem} for status, text in _PROBLEMS.items()},
    }


def _add_others(app: FastAPI, service: Service, metrics: Metrics) -> None:
    """Add what is no question to the warehouse."""
    publications = service.publications
    unready: dict[int | str, dict[str, Any]] = {
        503: {"description": _PROBLEMS[503], "content": {PROBLEM: {"schema": PROBLEM_SCHEMA}}}
    }

    async def live() -> JSONResponse:
        return JSONResponse({"status": "live"})

    async def ready() -> JSONResponse:
        await publications.current()
        return JSONResponse({"status": "ready", "stale": publications.is_away})

    async def metrics_text() -> Response:
        publications.known()  # has it asked for, if that is due
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    app.add_api_route("/health/live", live, summary="Whether the process runs")
    for path in ("/health/ready", "/health"):
        app.add_api_route(path, ready, summary="Whether it can answer", responses=unready)
    app.add_api_route(
        "/metrics", metrics_text, summary="Prometheus' metrics", response_class=Response
    )


async def _refused(_: Request, error: Exception) -> Response:
    """Hand an error to the gateway as a problem."""
    if isinstance(error, ProblemError):
        return _Left(error)
    if isinstance(error, RequestValidationError):
        found: list[dict[str, Any]] = [*error.errors()]
        if any(each["loc"][0] == "path" for each in found):
            return _Left(ProblemError(404, _PROBLEMS[404]))
        errors = tuple(dict.fromkeys(map(_told, found)))
        return _Left(ProblemError(422, _PROBLEMS[422], errors=errors))
    if isinstance(error, HTTPException):
        headers = {str(name): str(value) for name, value in (error.headers or {}).items()}
        if "Allow" in headers:
            headers["Allow"] = "GET, HEAD"
        return _Left(ProblemError(error.status_code, error.detail, headers=headers))
    return _Left(ProblemError(500, "Something unexpected happened; the log says what."))


def _told(error: dict[str, Any]) -> str:
    """Say what is wrong with a parameter, without what was given."""
    name = error["loc"][-1]
    if error["type"] == "extra_forbidden":
        return "a parameter that is not known"
    said = str(error["msg"]).removeprefix("Value error, ")
    return said if name == "query" else f"{name}: {said}"


def _describe_keys(app: FastAPI) -> None:
    """Say in OpenAPI's document that all but the health needs a key."""
    make = app.openapi

    def described() -> dict[str, Any]:
        document = make()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "http", "scheme": "bearer"}
        schemes["password"] = {
            "type": "http",
            "scheme": "basic",
            "description": "The key as the password of any user: browsers ask for it.",
        }
        for path, operations in document["paths"].items():
            if not path.startswith("/health"):
                operations["get"]["security"] = [{"key": []}, {"password": []}]
        return document

    app.openapi = described  # pyright: ignore[reportAttributeAccessIssue]
