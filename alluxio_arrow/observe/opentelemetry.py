"""Wire steps as OpenTelemetry spans. Needs the extra ``otel``.

::

    from alluxio_arrow.observe.opentelemetry import Spans
    fs = alluxio_arrow.filesystem(..., trace=Spans())
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

__all__ = ["Spans"]

_PREFIX = "alluxio."


class Spans:
    """A trace hook that makes a client span of every wire step, as a child of the span that is current.

    Parameters
    ----------
    tracer
        Makes the spans; by default that of the global provider, asked for at every step, so that it may be set up later.
    """

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = tracer
        # Steps nest within a thread.
        self._local = threading.local()

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take one event of `alluxio_arrow.trace.Trace`."""
        step, _, phase = event.rpartition(".")
        open_spans: list[Span] = self._local.__dict__.setdefault("spans", [])
        if phase == "started":
            tracer = self._tracer or trace.get_tracer("alluxio_arrow")
            parent = trace.set_span_in_context(open_spans[-1]) if open_spans else None
            span = tracer.start_span(_PREFIX + step, context=parent, kind=trace.SpanKind.CLIENT)
            open_spans.append(span)
        elif open_spans:
            span = open_spans.pop()
            error = info.get("error")
            if error is not None:
                span.record_exception(error)
                span.set_status(StatusCode.ERROR, str(error))
        else:
            return
        span.set_attributes({_PREFIX + key: value for key, value in info.items() if isinstance(value, (str, int, float, bool))})
        if phase != "started":
            span.end()

    def __reduce__(self) -> tuple[type[Spans], tuple[()]]:
        # Tracers do not pickle; another process has a provider of its own.
        return Spans, ()
