"""E56x and E57x: other systems that the engine tells of itself or asks who somebody is."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

OUTSIDE: Final[Stories] = MappingProxyType(
    {
        "E560": Story(
            "the audit cannot be sent to its repository",
            "The syslog server of audit.syslog cannot be reached, its certificate does not pass, or it does not take "
            "what is sent. Nothing is lost: the record is in the store, and all of it that the repository is not known "
            "to have is sent when it is back, in order, some of it perhaps again.",
            "See the repository, the network and the certificates; segmill check --env tries it. It is tried again by "
            "itself.",
        ),
        "W561": Story(
            "the audit goes out in plain text",
            "By UDP anybody on the way can read and change who did what, and a datagram that is lost is missed by "
            "nobody. DICOM's profile for it is PS3.15 A.7; A.6 is the one with TLS.",
            "Leave transport: udp away where the repository takes syslog over TLS (RFC 5425, port 6514).",
            "audit: {syslog: {host: arr.example.org, transport: udp}}",
        ),
        "W562": Story(
            "the audit goes to whoever answers",
            "tls.verify is false: the repository's certificate is not checked, and somebody else can take its place.",
            "Name the authority that signed its certificate: tls: {ca: tls/arr-ca.pem}.",
            "audit: {syslog: {host: arr.example.org, tls: {verify: false}}}",
        ),
        "E565": Story(
            "traces without OpenTelemetry",
            "traces of segmill.yaml asks for spans to a collector, and the packages that make them are not installed. "
            "The engine does not start so: nobody would notice that there are none.",
            "pip install 'segmill[otel]' into the engine's environment; or leave traces away.",
            "traces: {url: http://collector:4318/v1/traces}",
        ),
        "E566": Story(
            "the collector of traces does not take them",
            "It cannot be reached, or answers with an error. Spans wait in memory, as many as traces.queue says; then "
            "the oldest are dropped and counted (segmill_trace_spans_total). Messages are not touched by it.",
            "See the collector and its address; it is tried again by itself.",
        ),
        "W563": Story(
            "the audit's repository does not answer now",
            "It was tried, and nothing can be sent to it at this moment. The engine starts all the same, and keeps the "
            "record until the repository is there.",
            "See the repository, the network between, and what the message says of its certificate.",
        ),
    }
)
