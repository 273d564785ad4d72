"""Traces and metrics of a real read."""

from __future__ import annotations

import pickle

import pytest

from alluxio_arrow.observe.opentelemetry import Spans
from alluxio_arrow.observe.prometheus import StatsCollector
from alluxio_arrow.testing import MiniCluster


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    root = tmp_path_factory.mktemp("observed")
    for name in ("hot", "cold"):
        (root / name).write_bytes(bytes(3_000_000))
    with MiniCluster(root, workers=1) as cluster:
        cluster.load(str(root / "hot"))
        cluster.root = root
        yield cluster


def read(fs, path):
    with fs.open_input_file(str(path)) as file:
        return file.read()


def test_each_step_begins_and_ends(own):
    events = []
    fs = own.filesystem(trace=lambda event, info: events.append((event, dict(info))))
    read(fs, own.root / "hot")
    read(fs, own.root / "cold")
    names = [event for event, _ in events]
    for step in ("connect", "request", "pages", "ufs.read"):
        assert names.count(f"{step}.started") == names.count(f"{step}.complete") > 0
    first, second = (info for event, info in events if event == "pages.complete")
    assert (first["bytes"], first["misses"], first["pages"]) == (3_000_000, 0, 3)
    assert second["bytes"] == 0
    own.workers[0].kill()
    try:
        fs = own.filesystem(trace=lambda event, info: events.append((event, dict(info))), ufs=False)
        with pytest.raises(OSError):
            read(fs, own.root / "hot")
    finally:
        own.workers[0].restart()
    failed = [info for event, info in events if event == "connect.failed"]
    assert isinstance(failed[0]["error"], OSError)


def test_spans(own):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    fs = own.filesystem(trace=Spans(tracer), metadata_ttl_s=0)
    with tracer.start_as_current_span("query"):
        read(fs, own.root / "hot")
        read(fs, own.root / "cold")
    spans = {span.name: span for span in kept.get_finished_spans()}
    assert {"alluxio.connect", "alluxio.pages", "alluxio.ufs.read", "query"} <= set(spans)
    assert spans["alluxio.ufs.read"].parent.span_id == spans["query"].context.span_id
    assert spans["alluxio.pages"].attributes["alluxio.path"].startswith("file://")
    nested = [span for span in kept.get_finished_spans() if span.name == "alluxio.connect"]
    by_id = {span.context.span_id: span.name for span in kept.get_finished_spans()}
    assert any(by_id.get(span.parent.span_id) in ("alluxio.pages", "alluxio.request") for span in nested if span.parent)
    assert isinstance(pickle.loads(pickle.dumps(Spans(tracer))), Spans)


def test_metrics(own):
    from prometheus_client import CollectorRegistry, generate_latest

    fs = own.filesystem()
    registry = CollectorRegistry()
    registry.register(StatsCollector(fs.handler, cluster="one"))
    assert fs.handler.clients.peek() is None, "registering asks nobody anything"
    read(fs, own.root / "hot")
    text = generate_latest(registry).decode()
    assert 'alluxio_arrow_bytes_cache_total{cluster="one"} 3e+06' in text
    assert 'alluxio_arrow_workers{cluster="one"} 1.0' in text
    assert "# TYPE alluxio_arrow_connections_open gauge" in text
