"""Counters as Prometheus metrics. Needs the extra ``prometheus``.

::

    from prometheus_client import REGISTRY
    from alluxio_arrow.observe.prometheus import StatsCollector
    REGISTRY.register(StatsCollector(fs.handler))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alluxio_arrow.stats import MOMENTARY, Stats

__all__ = ["StatsCollector"]


class _HasStats(Protocol):
    def stats(self) -> Stats:
        """The present numbers."""


class StatsCollector(Collector):  # type: ignore[misc]  # prometheus_client is optional
    """Gives the numbers of `alluxio_arrow.stats.Stats` whenever they are asked for; runs nothing meanwhile.

    Parameters
    ----------
    source
        A handler, client, or anything with ``stats()``.
    **labels
        Put on every metric, to tell several filesystems apart.
    """

    def __init__(self, source: _HasStats, **labels: str) -> None:
        self._source = source
        self._labels = labels

    def describe(self) -> Iterator[Metric]:
        """The metrics without values, so that registering asks nobody anything."""
        return self._families(None)

    def collect(self) -> Iterator[Metric]:
        """The metrics with present values."""
        return self._families(self._source.stats())

    def _families(self, stats: Stats | None) -> Iterator[Metric]:
        for field in fields(Stats):
            kind = GaugeMetricFamily if field.name in MOMENTARY else CounterMetricFamily
            family = kind(
                f"alluxio_arrow_{field.name}", f"{field.name} of alluxio_arrow.stats.Stats", labels=list(self._labels)
            )
            if stats is not None:
                family.add_metric(list(self._labels.values()), getattr(stats, field.name))
            yield family
