"""A redemption's trace, as a collector receives it: from the request through outbox and workflow to the webhook (contract 6)."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import start_stack, stop_stack_process
from tests.journey.programme import add_endpoint, add_reward, eventually, fresh, give_points, post, receiver

Spans = list[tuple[str, Any]]


@contextmanager
def collector() -> Iterator[tuple[str, Spans]]:
    """An OpenTelemetry collector's HTTP door; what it took, as (service, span)."""
    spans: Spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = ExportTraceServiceRequest()
            request.ParseFromString(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            for each in request.resource_spans:
                service = next(fact.value.string_value for fact in each.resource.attributes if fact.key == "service.name")
                spans.extend((service, span) for scope in each.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


WANTED = {("laurel-worker", name) for name in ("webhook", "RunWorkflow:RedemptionWorkflow", "RunActivity:send_webhook")}


def together(spans: Spans) -> set[tuple[str, str]]:
    """What is in the trace of the request that redeems; nothing while that has not come."""
    known = list(spans)
    traces = {span.trace_id for service, span in known if service == "laurel-api" and span.name == "POST /v1/redemptions"}
    return {(service, span.name) for service, span in known if span.trace_id in traces}


@pytest.mark.slow
def test_one_trace_holds_the_request_its_workflow_and_the_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (address, spans), receiver() as partner:
        monkeypatch.setenv("LAUREL_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        stack = start_stack(tmp_path / "data")
        try:
            with stack.client() as client:
                user = fresh("user")
                give_points(client, user, 100)
                endpoint, secret = add_endpoint(client, partner.url)
                slug = add_reward(client, price=10, endpoint_id=endpoint)
                redemption = post(client, "/v1/redemptions", {"external_user_id": user, "slug": slug})
                eventually(lambda: partner.of(redemption["redemption_id"]))
            eventually(lambda: together(spans) >= WANTED)  # each part sends what it has when it likes
        finally:
            stop_stack_process(stack.process)
        text = b"".join(span.SerializeToString() for _, span in spans)
    assert secret.encode() not in text
    assert stack.described["api_key"].encode() not in text
