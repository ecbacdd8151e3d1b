"""What a finished workflow tells people: its status, its rows, and what failed, to a webhook."""

from __future__ import annotations

import http.client
import json
import logging
import math
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, SecretStr

from sales_mart.control_characters import escape_control_characters
from sales_mart.error_codes import kind_of_http
from sales_mart.errors import ConfigurationError, TemporaryError
from sales_mart.lake.runs import RunFolder
from sales_mart.steps.status import summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_mart.lake.storage import Storage
    from sales_mart.steps.status import RunSummary

__all__ = ["Failure", "Notification", "notification", "runs_of", "send"]

_log = logging.getLogger(__name__)

_SECONDS = 30.0
_REDIRECTS = range(300, 400)
_ATTEMPT = re.compile(r"(.+)\(([0-9]+)\)")


class Failure(BaseModel):
    """One step that failed: its name in the graph, and what it said."""

    model_config = ConfigDict(frozen=True)

    step: str
    message: str


class RunCounts(BaseModel):
    """One run of the workflow, as far as it has come."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    business_date: str
    done: tuple[str, ...]
    rows_read: int | None
    rows_valid: int | None
    rows_rejected: int | None
    published: bool


class Notification(BaseModel):
    """What is sent. `text` says it in words; chat services show it, programs read the rest.

    Names and messages in it come from elsewhere. In `text`, `&`, `<` and `>` are escaped as Slack
    wants them, so that none of them mentions a channel or hides where a link leads; `mrkdwn` tells
    it to take no other mark either. No field has a control character.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[2] = 2
    text: str
    mrkdwn: Literal[False] = False
    workflow: str
    status: str
    duration_seconds: float
    failures: tuple[Failure, ...]
    runs: tuple[RunCounts, ...]


def runs_of(lake: Storage, workflow: str) -> list[RunSummary]:
    """Read the runs of a workflow: one of its name, or one per day of a backfill."""
    names = lake.names(f"runs/{workflow}")
    found = {name.split("/")[1] for name in names if name.endswith("/plan.json")}
    own = (each for each in found if each == workflow or each.startswith(f"{workflow}-"))
    return [summarise(RunFolder(lake, each)) for each in sorted(own)]


def notification(
    workflow: str,
    status: str,
    duration: str = "",
    failures: str = "",
    runs: Sequence[RunSummary] = (),
) -> Notification:
    """Put together what is sent.

    Args:
        workflow: Name of the workflow.
        status: `Succeeded`, `Failed` or `Error`.
        duration: Seconds, as Argo's `workflow.duration` gives them.
        failures: The JSON of Argo's `workflow.failures`.
        runs: The runs of the workflow.

    Raises:
        ConfigurationError: `duration` or `failures` is not what Argo gives.
    """
    try:
        seconds = round(float(duration or 0), 1)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(duration)
        failed = _failures(json.loads(failures)) if failures.strip() else ()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = "the duration or the failures are not as Argo's workflow variables give them"
        raise ConfigurationError(
            msg, remedy="Pass {{workflow.duration}} and {{workflow.failures}} as they are."
        ) from error
    counts = tuple(_counts(run) for run in runs)
    workflow, status = _plain(workflow), _plain(status)
    return Notification(
        text=_text(workflow, status, seconds, failed, counts),
        workflow=workflow,
        status=status,
        duration_seconds=seconds,
        failures=failed,
        runs=counts,
    )


def _failures(listed: Any) -> tuple[Failure, ...]:
    """Read the steps that failed for good, each with what its last attempt said.

    Argo lists every node in any order: groups, steps, and the attempts of a step, `seal(0)` and
    `seal(1)`. The step itself is listed only when no attempt was left; its message then is just
    that. A list comes wrapped in a string of its own, in some versions.
    """
    if isinstance(listed, str):
        listed = json.loads(listed)
    nodes = {
        _plain(str(each["displayName"])): _plain(str(each.get("message") or each["phase"]))
        for each in cast("list[dict[str, Any]]", listed or [])
    }
    last: dict[str, tuple[int, str]] = {}
    for name, message in nodes.items():
        attempt = _ATTEMPT.fullmatch(name)
        if attempt is not None and attempt[1] in nodes:
            step, number = attempt[1], int(attempt[2])
            last[step] = max(last.get(step, (-1, "")), (number, message))
    return tuple(Failure(step=step, message=message) for step, (_, message) in sorted(last.items()))


def _plain(text: str) -> str:
    """Put a text on one line, with escapes for what cannot be seen."""
    return escape_control_characters(" ".join(text.split()), on_one_line=True)


def _counts(run: RunSummary) -> RunCounts:
    rows = run.rows
    return RunCounts(
        run_id=run.run_id,
        business_date=run.business_date.isoformat(),
        done=run.done,
        rows_read=rows.rows_read if rows else None,
        rows_valid=rows.rows_valid if rows else None,
        rows_rejected=rows.rows_rejected if rows else None,
        published=run.published_at is not None,
    )


def _text(
    workflow: str,
    status: str,
    seconds: float,
    failures: Sequence[Failure],
    runs: Sequence[RunCounts],
) -> str:
    lines = [f"{workflow}: {status} after {seconds:,.0f} s"]
    lines += [f"{each.step}: {each.message}" for each in failures]
    for run in runs:
        shown = "published" if run.published else f"stopped after {run.done[-1]}"
        if run.rows_read is None:
            lines.append(f"{run.business_date}: {shown}")
            continue
        lines.append(
            f"{run.business_date}: {run.rows_read:,} rows read, {run.rows_valid:,} valid, "
            f"{run.rows_rejected:,} rejected; {shown}"
        )
    # The ampersand first, or it would escape the others again.
    return "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the message would be left out, and the GET's answer taken for its."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return nothing to ask for instead."""


def send(url: SecretStr, message: Notification) -> None:
    """Post the notification as JSON. The address is a secret: no message names it.

    Raises:
        ConfigurationError: The address is not one of the web, or its server refuses the message.
        TemporaryError: The server does not answer.
    """
    address = url.get_secret_value().strip()
    wrong = ConfigurationError(
        "the webhook's address is not a web address",
        remedy="Put its https:// address into the secret.",
    )
    if not address.startswith(("https://", "http://")):
        raise wrong
    if address.startswith("http://"):
        _log.warning("the webhook's address is not one of https: who listens can read it")
    request = urllib.request.Request(  # noqa: S310 - http and https only
        address,
        data=message.model_dump_json().encode(),
        headers={"Content-Type": "application/json", "User-Agent": "sales-mart"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_Unmoved).open(request, timeout=_SECONDS) as answer:
            _log.info("the webhook answered %d", answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        msg = f"the webhook answered {error.code}"
        if kind_of_http(error.code, "") is TemporaryError:
            raise TemporaryError(msg, remedy="Run the same command again.") from None
        remedy = "Check the address in the secret, and that it takes JSON by POST."
        if error.code in _REDIRECTS:
            remedy = "Put the address that it redirects to into the secret."
        raise ConfigurationError(msg, remedy=remedy) from None
    except http.client.InvalidURL:
        raise wrong from None
    except (OSError, http.client.HTTPException) as error:
        msg = f"the webhook does not answer: {type(error).__name__}"
        raise TemporaryError(
            msg, remedy="Check the network policy and the address, then run it again."
        ) from None
