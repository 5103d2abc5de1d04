"""E56x and E57x: other systems that the engine tells of itself or asks who somebody is; one-time codes."""

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
        "E564": Story(
            "a record of the audit goes to the repository by its number alone",
            "No message could be made of it: its messages cannot be read in the store, or it is a defect of the "
            "engine. The records behind it do not wait: the repository gets its number, its time and its hash, and "
            "segmill audit has the rest. It is told once a minute at most.",
            "segmill audit verify shows whether the record is whole; segmill doctor whether the store is. Where both "
            "are sound, report the line of the log.",
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
        "W566": Story(
            "the collector of traces does not answer now",
            "It was tried, and there is no connection to it at this moment. The engine starts all the same; messages "
            "come and go without traces.",
            "See the collector, its address and the network between.",
        ),
        "W573": Story(
            "the identity provider does not answer now",
            "It was tried, and there is no connection to it at this moment. The engine starts all the same; local "
            "users can sign in.",
            "See the provider, console.oidc.issuer and the network between.",
        ),
        "E570": Story(
            "an identity provider without the packages for it",
            "console.oidc asks for sign-in by an identity provider, and the packages that look at its signatures are "
            "not installed. The engine does not start so.",
            "pip install 'segmill[oidc]' into the engine's environment; or leave oidc away.",
        ),
        "E571": Story(
            "an identity provider that cannot send anybody back",
            "After signing in there the browser is sent back to an address that the provider knows, which is made from "
            "console.url. It is not guessed from a request: whoever sends that could send people elsewhere.",
            "Say how people call the console: console: {url: https://...}, and register URL/sign-in/oidc/back there.",
        ),
        "E572": Story(
            "the identity provider's answer is not good",
            "It was not begun in this browser, was used before, took more than ten minutes, is of another provider, or "
            "its ID token is not signed by its keys, not for us, not for this sign-in, or too old. It says which.",
            "Begin again at the sign-in page. If it goes on: compare issuer and client with what the provider has, and "
            "both clocks; keys that it just changed are read anew after half a minute.",
        ),
        "E573": Story(
            "the identity provider cannot be asked",
            "Its document, keys, or token endpoint cannot be reached, or are not what OpenID Connect says. Who is "
            "signed in stays so, and local users can sign in.",
            "See issuer, the network and its certificate (console.oidc.tls). The local admin is there for this.",
        ),
        "E574": Story(
            "known, and without a role",
            "The identity provider says who it is, and no value of the claim has a role here. It is on record.",
            "Give one of their groups a role, console: {oidc: {roles: {GROUP: operator}}}, or another group there.",
        ),
        "E575": Story(
            "a user of the provider who is not let in",
            "A user of that name was disabled here; or the name belongs to another person of the provider, who signed "
            "in first: the same name alone is no proof.",
            "segmill users disable NAME --undo, where it was disabled. Names that two people share: choose another "
            "claim for console.oidc.user.",
        ),
        "E578": Story(
            "a one-time code is asked for",
            "The password was right, and this user has one-time codes set up. The same again, with the code that the "
            "authenticator app shows now, or with one of the recovery codes.",
            "POST /api/v1/session with name, password and code. The telephone and the recovery codes are lost: segmill "
            "users passwd NAME on the engine's machine, or an admin, gives a new password and begins anew.",
        ),
        "E579": Story(
            "the one-time code is wrong",
            "It is of another moment, or was used before: each is good once. The password alone is not enough.",
            "Wait for the next code. If none is taken, compare the clocks of the telephone and of the engine's host: "
            "half a minute between them is too much.",
        ),
        "W570": Story(
            "an identity provider by which nobody can sign in",
            "No value of the claim has a role, and who has none is not let in.",
            "console: {oidc: {roles: {segmill-admins: admin, radiology: {results: operator}}}}.",
        ),
        "W563": Story(
            "the audit's repository does not answer now",
            "It was tried, and nothing can be sent to it at this moment. The engine starts all the same, and keeps the "
            "record until the repository is there.",
            "See the repository, the network between, and what the message says of its certificate.",
        ),
    }
)
