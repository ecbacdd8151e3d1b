"""A route that returns bytes, and nothing else: what FastAPI by itself takes for an answer."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Response

BODY = Path(os.environ["BARE_BODY"]).read_bytes()
app = FastAPI()


@app.get("/sales/trends")
async def trends(month: str) -> Response:  # noqa: ARG001 - as ours takes it
    """Return the bytes."""
    return Response(BODY, media_type="application/json")
