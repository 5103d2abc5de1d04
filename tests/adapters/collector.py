"""A collector of traces for tests: takes OTLP over HTTP, decodes the real protobuf, and can be gone, slow or rude."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """`answers`: what the next requests are answered, then 200. `gate`: closed, requests wait."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.came = threading.Condition()
        self.port = 0

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        assert handler.path == "/v1/traces" and handler.headers["content-type"] == "application/x-protobuf"
        self.gate.wait(60)
        with self.came:
            status, more = self.answers.pop(0) if self.answers else (200, {})
            if status == 200:
                self.requests.append(ExportTraceServiceRequest.FromString(body))
            self.raw.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.came.notify_all()
        handler.send_response(status)
        for name, value in more.items():
            handler.send_header(name, value)
        handler.send_header("content-length", "0")
        handler.end_headers()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def got(self, count: int) -> list[Span]:
        """When there are so many."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.spans) >= count, 60), len(self.spans)
        return self.spans

    def asked(self, times: int) -> None:
        """Wait until it was asked so often."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.raw) >= times, 60)


def attributes(span: Any) -> dict[str, Any]:
    """As plain values."""

    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        found = getattr(value, kind)
        return [plain(one) for one in found.values] if kind == "array_value" else found

    return {one.key: plain(one.value) for one in span.attributes}


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.take(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(60)
