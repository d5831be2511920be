"""OpenTelemetry traces from HTTP through workflow to webhook, when `LAUREL_OTLP_ENDPOINT` names a collector (contract 6).

Off, nothing of OpenTelemetry's SDK is imported and `current` costs one comparison. On, one trace holds the request, the command
that it left in the outbox, the workflow, its activities and each webhook. Spans carry ids and states: no body, no secret.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from temporalio.client import Interceptor

from runtime.settings import Settings
from runtime.version import VERSION

_active = False


def set_up(settings: Settings, service: str) -> None:
    """Send this process's spans, as `service`, to the collector of the settings; without one, do nothing."""
    global _active
    if not settings.otlp_endpoint:
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": service,
                "service.namespace": "laurel",
                "service.version": VERSION,
                "deployment.environment.name": settings.environment,
            }
        ),
        sampler=ParentBasedTraceIdRatio(settings.trace_sample_ratio),
    )
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _active = True


def traced(application: Any, settings: Settings) -> Any:
    """The ASGI application with a span around each request, named by its route; the application itself when traces are off."""
    if not settings.otlp_endpoint:
        return application
    from opentelemetry import trace
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    async def named(scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)
        if template := scope.get("path_template"):
            trace.get_current_span().update_name(f"{scope.get('method', 'GET')} {template}")

    return OpenTelemetryMiddleware(named, exclude_spans=["receive", "send"])


def interceptors(settings: Settings) -> list[Interceptor]:
    """What makes Temporal's clients and workers carry the trace along; empty when traces are off."""
    if not settings.otlp_endpoint:
        return []
    from temporalio.contrib.opentelemetry import TracingInterceptor

    return [TracingInterceptor()]


def current() -> str | None:
    """The W3C `traceparent` of the present span, to be kept beside what is done later; None when traces are off."""
    if not _active:
        return None
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def trace_id() -> str:
    """The present span's trace, 32 hexadecimal digits; empty outside one and when traces are off."""
    traceparent = current()
    return "" if traceparent is None else traceparent.split("-")[1]


@contextmanager
def continued(traceparent: str | None) -> Iterator[None]:
    """A block whose spans belong to the trace of `traceparent`."""
    if not _active or traceparent is None:
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)


def sending(url: str, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A span around one HTTP request to a partner. It names the host and the webhook's id, never path, query or body."""
    if not _active:
        return nullcontext()
    from opentelemetry import trace

    parts = urlsplit(url)
    facts = {"server.address": parts.hostname or "", "http.request.method": "POST", "webhook.id": headers.get("webhook-id", "")}
    return trace.get_tracer("laurel.webhook").start_as_current_span("webhook", kind=trace.SpanKind.CLIENT, attributes=facts)
