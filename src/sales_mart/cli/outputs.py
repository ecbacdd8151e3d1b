"""What a command says of the rows and the publication of a run, to people and to a workflow."""

from __future__ import annotations

import logging
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from sales_mart.lake.records import Seal
    from sales_mart.steps.status import RowSummary

__all__ = ["publication_outputs", "row_outputs", "warn_of_rejects"]

_log = logging.getLogger("sales_mart.cli")


def warn_of_rejects(rows: Seal | RowSummary, place: str | None) -> None:
    """Log how many rows were rejected, for which reasons, where they are, and how to see them."""
    if not rows.rows_rejected:
        return
    why = ", ".join(
        f"{reason} {count:,}"
        for reason, count in sorted(rows.reasons.items(), key=lambda each: (-each[1], each[0]))
    )
    _log.warning(
        "%s of %s rows were rejected: %s; %s",
        f"{rows.rows_rejected:,}",
        f"{rows.rows_read:,}",
        why,
        _how_to_see(place) if place else "a dry run does not keep them",
    )


def row_outputs(rows: Seal | RowSummary) -> dict[str, object]:
    """Return the counts that a workflow passes on, by the names of its parameters."""
    return {
        "rows-read": rows.rows_read,
        "rows-valid": rows.rows_valid,
        "rows-rejected": rows.rows_rejected,
    }


def publication_outputs(published_at: datetime) -> dict[str, object]:
    """Return the time of publication as a workflow passes it on, in seconds since 1970."""
    return {"published-at": int(published_at.timestamp())}


def _how_to_see(place: str) -> str:
    lake, _, run_id = place.removesuffix("/quarantine").rpartition("/runs/")
    command = shlex.join(["sales-mart", "quarantine", "show", run_id, "--lake", lake])
    return f"they are in {place}; to see them: {command}"
