"""A BigQuery client whose answers have a deadline; our own steps use it, and so does dbt."""

from __future__ import annotations

from typing import Any

from google.cloud import bigquery

__all__ = ["Client"]


class Client(bigquery.Client):
    """A client that repeats no request, and waits for no answer, beyond `request_timeout`.

    The library's own goes on for ten minutes while a server is away, without a word, and waits for
    ever for one that accepts a request and says nothing.
    """

    request_timeout: float = 60.0
    """Seconds for a request and its repetitions."""
    job_timeout: float = 3600.0
    """Seconds for a job."""

    # All requests but uploads pass here. No public place is as narrow: methods of jobs and of
    # rows make requests too, and a default of the library is not a default of all of them.
    def _call_api(self, retry: Any, *arguments: Any, **options: Any) -> Any:
        given = options.get("timeout")
        seconds = self.request_timeout
        options["timeout"] = min(given, seconds) if isinstance(given, float | int) else seconds
        if retry:
            given = retry.timeout
            retry = retry.with_timeout(seconds if given is None else min(given, seconds))
        return super()._call_api(retry, *arguments, **options)
