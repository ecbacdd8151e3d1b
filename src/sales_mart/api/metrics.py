"""The API's metrics, in Prometheus' text form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from sales_mart.api.publications import Publications

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
OTHER = "other"


class Metrics:
    """What is counted of the requests, and what is told of the publication."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sales_mart_api_requests",
            "Requests, by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "sales_mart_api_request_seconds",
            "How long requests took, by path.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.queries = Counter(
            "sales_mart_api_queries",
            "Questions that the warehouse was asked: what no kept answer fitted.",
            registry=self._registry,
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def show(self, publications: Publications) -> None:
        """Tell of the publication too."""
        self._registry.register(_Published(publications))

    def count(self, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is one of the API's own, with names for its parameters."""
        pair = self._known.get((path, status))
        if pair is None:
            pair = (
                self._requests.labels(path=path, status=str(status)),
                self._seconds.labels(path=path),
            )
            self._known[path, status] = pair
        pair[0].inc()
        pair[1].observe(seconds)

    def text(self) -> bytes:
        """Return them all as text."""
        return generate_latest(self._registry)


class _Published(Collector):
    """What is shown, at the moment at which somebody asks for the metrics."""

    def __init__(self, publications: Publications) -> None:
        self._publications = publications

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give what is known of the publication."""
        shown = self._publications.shown
        yield GaugeMetricFamily(
            "sales_mart_api_warehouse_up",
            "Whether the warehouse answered last time.",
            value=float(shown is not None and not self._publications.is_away),
        )
        if shown is None or shown.publication is None:
            return
        found = shown.publication
        yield GaugeMetricFamily(
            "sales_mart_api_publication_age_seconds",
            "Seconds since the marts changed.",
            value=max(0.0, time.time() - found.published_at.timestamp()),
        )
        rows = GaugeMetricFamily(
            "sales_mart_api_rows", "Rows of the published tables.", labels=["mart"]
        )
        for mart, count in sorted(found.rows.items()):
            rows.add_metric([mart], count)
        yield rows
        rejects = GaugeMetricFamily(
            "sales_mart_api_rejected_rows",
            "Rejected rows of the published run, by reason.",
            labels=["reason"],
        )
        for reason, count in sorted(shown.rejects.items()):
            rejects.add_metric([reason], count)
        yield rejects
