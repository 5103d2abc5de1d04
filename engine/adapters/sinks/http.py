"""HL7 over HTTP, the sending side: a POST a message, and the acknowledgment in its response.

What an attempt comes to, by HAPI's specification "HL7 over HTTP" (sections 2.4 to 2.6) and what servers do::

    no connection, TLS refused, no login, 404, 405, 415, 429, 503, a redirect   Unreachable
    AA or CA with our MSH-10 in MSA-2, whatever the 2xx                         Delivered
    AE, AR, CE, CR with our MSH-10 in MSA-2, whatever the status                Refused
    400, 413 or 422 without an acknowledgment                                   Refused    AE: about this message
    an acknowledgment of another message, AA with 4xx or 5xx, garbage           Unanswered
    any other end after the first byte was sent                                 Unanswered
"""

import logging
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from engine.adapters.http_charset import MEDIA_TYPE, MEDIA_TYPE_OF, charset_name, text_codec
from engine.adapters.http_failures import why_failed
from engine.adapters.outgoing import control_id_of, expects_answer
from engine.adapters.sinks.mllp import ClientTls
from engine.adapters.tls import client_context
from engine.config.base import ConfigModel, Doubt
from engine.config.finding import BadValue
from engine.config.listen import is_loopback
from engine.config.units import Duration, Size
from engine.hl7.ack import read_ack
from engine.hl7.convert import FORMS, Form, form_of
from engine.hl7.errors import UnreadableMessage
from engine.mllp.exchange import POSITIVE
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import Clock

if TYPE_CHECKING:  # else in the functions: every start and every command would load it, for the few that send over HTTP
    import httpx2

_HL7_CODE = re.compile("[0-9]{3}")
_NOT_TAKEN: Final[Mapping[int, str]] = {
    401: "the receiver asks for another user and password",
    403: "the receiver does not let us send",
    404: "the receiver has no such path",
    405: "the receiver takes no POST there",
    407: "a proxy asks for a login",
    415: "the receiver does not take this media type",
    421: "the receiver is not responsible for this address",
    429: "the receiver takes no more now",
    503: "the receiver takes nothing now",
}
_ABOUT_THE_MESSAGE: Final = frozenset({400, 413, 422})


class HttpSinkSettings(ConfigModel):
    """What stands under `http:` in a destination."""

    url: str = Field(description="Where messages are posted to: http://host:port/path or https://...")
    user: str | None = Field(None, min_length=1, description="Name to log in with (HTTP Basic)")
    password: str | None = Field(None, min_length=1, description="Its password: ${file:...}")
    ack_timeout: Duration = Field(30.0, gt=0, description="How long the receiver may be silent once it has the message")
    connect_timeout: Duration = Field(10.0, gt=0, description="How long name, TCP and TLS together may take")
    write_timeout: Duration = Field(12.0, gt=0, description="How long the receiver may take nothing off the wire")
    max_ack: Size = Field(64_000, gt=0, description="A longer answer is not read")
    answer: Literal["acknowledgment", "status"] = Field(
        "acknowledgment", description="status: a 2xx without an acknowledgment counts as delivered, too"
    )
    tls: ClientTls | None = None

    @property
    def server(self) -> tuple[str, int]:
        """Host and port."""
        import httpx2

        url = httpx2.URL(self.url)
        return url.host, url.port or (443 if url.scheme == "https" else 80)

    def doubts(self) -> Iterable[Doubt]:
        host, _ = self.server
        if self.url.startswith("http:") and not is_loopback(host):
            what = "messages and the password" if self.password else "messages"
            yield Doubt("url", "W165", f"plain text to {host}: {what} can be read on the way", "write https://")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        import httpx2

        try:
            url = httpx2.URL(value)
        except httpx2.InvalidURL as error:
            raise BadValue("is not a URL", "such as https://ris.local:8443/adt") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise BadValue("is not the URL of an HTTP server", "such as https://ris.local:8443/adt")
        if url.userinfo:
            raise BadValue("must not hold a password", "give user and password as keys of their own")
        return value

    @model_validator(mode="after")
    def _login_is_whole(self) -> "HttpSinkSettings":
        if (self.user is None) != (self.password is None):
            raise BadValue("has a user or a password, and not both", "give user and password, or neither", code="E103")
        if self.tls is not None and not self.url.startswith("https:"):
            raise BadValue("has tls, and a url that is not https", "write https://", code="E107")
        return self


class HttpSink:
    """One lane's connection to its receiver, kept open as long as the receiver does. One call at a time."""

    name: ClassVar[str] = "http"
    model: ClassVar[type[HttpSinkSettings]] = HttpSinkSettings

    def __init__(self, settings: HttpSinkSettings, tls: ssl.SSLContext | None) -> None:
        import httpx2

        self.max_batch = 1
        self.linger_s = 0.0
        self._settings = settings
        login = None
        if settings.user is not None and settings.password is not None:
            login = httpx2.BasicAuth(settings.user, settings.password)
        self._client = httpx2.AsyncClient(
            auth=login,
            verify=tls if tls is not None else True,
            timeout=httpx2.Timeout(
                settings.ack_timeout, connect=settings.connect_timeout, write=settings.write_timeout
            ),
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1),
            follow_redirects=False,
            trust_env=False,  # a proxy of the environment is nobody's decision about this destination
        )

    @staticmethod
    def forms(settings: HttpSinkSettings) -> Sequence[Form]:
        """HL7, and others where the status is the answer: an acknowledgment names a message that it can read."""
        return FORMS if settings.answer == "status" else ("hl7",)

    @classmethod
    def open(cls, settings: HttpSinkSettings, *, folder: Path, lane: str, clock: Clock) -> "HttpSink":
        """Set up, without a connection yet. Raises ConfigError for TLS files that cannot be used."""
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for every request
        is_tls = settings.url.startswith("https:")
        own = settings.tls.context(folder) if settings.tls is not None else None
        tls = own or (client_context() if is_tls else None)
        return cls(settings, tls)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One delivery a call, as `max_batch` says; more are sent one after the other."""
        return [await self._send(delivery.body) for delivery in deliveries]

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, body: bytes) -> Outcome:
        import httpx2

        form = form_of(body)
        control_id: bytes | None = None
        wants_answer = True
        charset = "utf-8"
        if form == "hl7":
            try:
                control_id = control_id_of(body)
                wants_answer = expects_answer(body)
            except UnreadableMessage as error:
                return Unsendable(error.reason)
            charset = charset_name(text_codec(body))
        headers = {
            "Content-Type": f"{MEDIA_TYPE_OF[form]}; charset={charset}" if charset else MEDIA_TYPE_OF[form],
            "Accept": MEDIA_TYPE if self._settings.answer == "acknowledgment" else f"{MEDIA_TYPE}, */*",
            "Accept-Encoding": "identity",
        }
        tls = self._settings.tls
        extensions = {"sni_hostname": tls.server_name} if tls is not None and tls.server_name else {}
        try:
            request = self._client.build_request(
                "POST", self._settings.url, content=body, headers=headers, extensions=extensions
            )
            response = await self._client.send(request, stream=True)
            try:
                answer = await self._read(response)
            finally:
                await response.aclose()
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
            return Unreachable(f"no connection: {why_failed(error)}")
        except httpx2.HTTPError as error:
            return Unanswered(f"no answer: {why_failed(error)}")
        if answer is None:
            return Unanswered("the answer is longer than the limit")
        return self._judged(response.status_code, answer, control_id, wants_answer)

    async def _read(self, response: "httpx2.Response") -> bytes | None:
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > self._settings.max_ack:
                return None
            parts.append(part)
        return b"".join(parts)

    def _judged(self, status: int, answer: bytes, control_id: bytes | None, wants_answer: bool) -> Outcome:
        ack = read_ack(answer)
        is_success = 200 <= status < 300
        if ack is None:
            return self._judged_by_status(status, answer, is_success and not wants_answer)
        if control_id is not None and ack.control_id != control_id:
            return Unanswered("an answer came, but to another message (its MSA-2 is not our MSH-10)", answer)
        if ack.code not in POSITIVE:
            hl7_code = ack.hl7_code if _HL7_CODE.fullmatch(ack.hl7_code) else ""
            return Refused(ack.code, hl7_code, answer, f"the receiver answered {ack.code} {hl7_code}".rstrip())
        if not is_success:
            return Unanswered(f"the receiver answered {ack.code} with HTTP {status}", answer)
        return Delivered(answer, note=ack.code)

    def _judged_by_status(self, status: int, answer: bytes, is_enough: bool) -> Outcome:
        if 200 <= status < 300:
            if is_enough or self._settings.answer == "status":
                return Delivered(answer, note=f"HTTP {status}")
            return Unanswered(f"HTTP {status} without an acknowledgment", answer)
        if status in _NOT_TAKEN:
            return Unreachable(f"{_NOT_TAKEN[status]} (HTTP {status})")
        if 300 <= status < 400:
            return Unreachable(f"the receiver is elsewhere (HTTP {status}); redirects are not followed")
        if status in _ABOUT_THE_MESSAGE:
            return Refused("AE", "", answer, f"the receiver answered HTTP {status} without an acknowledgment")
        return Unanswered(f"HTTP {status} without an acknowledgment", answer)
