"""The e-mail sink: a mail a message, by SMTP, with what the site's templates name and nothing else.

What an attempt comes to (RFC 5321 section 4.2)::

    no connection, no TLS, no login, a 4xx anywhere              Unreachable  nothing was taken
    a 5xx for our address or theirs                              Refused AR   somebody must mend the settings
    a 5xx for the mail itself                                    Refused AE   the same mail, the same end
    250 behind the mail                                          Delivered    to the server, not to a reader
    the connection broke, or nothing came, behind the mail       Unanswered   it may have been taken

One recipient that is refused stops the mail for all: half a delivery is none. A mail that comes twice has the same
Message-ID. Answers of a server may quote addresses and texts, and only their codes are told.
"""

import asyncio
import email.policy
import hashlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from engine.adapters.http_charset import MEDIA_TYPE_OF
from engine.adapters.sinks.mail_text import compile_text
from engine.adapters.tls import client_context
from engine.config.base import ConfigModel, Doubt
from engine.config.finding import BadValue
from engine.config.listen import is_loopback
from engine.config.types import FileText
from engine.config.units import Duration
from engine.hl7.convert import FORMS, Form, form_of
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.model.envelope import Delivery
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable
from engine.ports.clock import Clock, from_us

_PORTS: Final = {"starttls": 587, "tls": 465, "off": 25}
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)
_POLICY: Final = email.policy.SMTP.clone(cte_type="7bit")


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class EmailSinkSettings(ConfigModel):
    """What stands under `email:` in a destination. Without templates a mail holds numbers and names of ours only."""

    host: str = Field(min_length=1, description="The mail server's name or address")
    port: int | None = Field(None, ge=1, le=65535, description="Its port; by `tls` 587, 465 or 25")
    tls: Literal["starttls", "tls", "off"] = Field("starttls", description="How the connection is encrypted")
    ca: FileText | None = Field(None, description="Authorities that may have signed the server's certificate, PEM")
    user: str | None = Field(None, min_length=1, description="Name to log in with")
    password: str | None = Field(None, min_length=1, description="Its password: ${file:...}")
    sender: str = Field(alias="from", description="Address that mails are from")
    to: Annotated[
        tuple[str, ...],
        BeforeValidator(_one_or_several),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field(min_length=1, max_length=100, description="Address of the receiver, or several")
    subject: str = Field(
        "Segmill: message {seq} of {channel}", max_length=500, description="Text with places in braces"
    )
    body: str = Field(
        "Message {seq} of channel {channel}.\n", max_length=20_000, description="Text with places in braces"
    )
    attach: Literal["none", "message"] = Field("none", description="message: attach the message as it is delivered")
    timeout: Duration = Field(30.0, gt=0, le=600, description="How long the server may be silent at any one time")

    @field_validator("sender")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise BadValue("is not a mail address", "such as segmill@hospital.example")
        return value

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            cls._is_an_address(address)
        return value

    @field_validator("subject", "body")
    @classmethod
    def _is_a_template(cls, value: str) -> str:
        compile_text(value)
        return value

    @model_validator(mode="after")
    def _login_is_whole_and_hidden(self) -> "EmailSinkSettings":
        if (self.user is None) != (self.password is None):
            raise BadValue("has a user or a password, and not both", "give user and password, or neither", code="E103")
        if self.password is not None and self.tls == "off" and not is_loopback(self.host):
            raise BadValue("must not send a password in plain text", "set tls: starttls or tls")
        return self

    def doubts(self) -> Iterable[Doubt]:
        hint = "mail is read by others: name only what is needed to look it up, such as {MSH-10}"
        for key in ("subject", "body"):
            if segments := compile_text(getattr(self, key)).patient_segments:
                yield Doubt(key, "W164", f"'{key}' puts values of {', '.join(segments)} into the mail", hint)
        if self.attach == "message":
            yield Doubt("attach", "W164", "the whole message goes by mail", hint)
        if self.tls == "off" and not is_loopback(self.host):
            yield Doubt("tls", "W165", f"plain text to {self.host}: mails can be read on the way", "tls: starttls")

    @property
    def server_port(self) -> int:
        return self.port or _PORTS[self.tls]


class EmailSink:
    """One lane's way to its mail server; a connection a mail, on the sink's own thread."""

    name: ClassVar[str] = "email"
    model: ClassVar[type[EmailSinkSettings]] = EmailSinkSettings

    def __init__(self, settings: EmailSinkSettings, tls: ssl.SSLContext | None, lane: str, clock: Clock) -> None:
        self.max_batch = 1
        self.linger_s = 0.0
        self._settings = settings
        self._tls = tls
        self._lane = lane
        self._clock = clock
        self._subject = compile_text(settings.subject)
        self._body = compile_text(settings.body)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"email {lane}")

    @staticmethod
    def forms(settings: EmailSinkSettings) -> Sequence[Form]:
        """Every form as the attachment; HL7 only where a template names a value of the message."""
        templates = (compile_text(settings.subject), compile_text(settings.body))
        return ("hl7",) if any(template.segments for template in templates) else FORMS

    @classmethod
    def open(cls, settings: EmailSinkSettings, *, folder: Path, lane: str, clock: Clock) -> "EmailSink":
        """Set up, without a connection yet. Raises ConfigError for a CA that cannot be used."""
        tls = None
        if settings.tls != "off":
            tls = client_context(ca=folder / settings.ca if settings.ca else None)
        return cls(settings, tls, lane, clock)

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """One mail a delivery. After cancellation the thread may still finish it."""
        return [await self._send(delivery) for delivery in deliveries]

    async def close(self) -> None:
        """Take no more; a server that hangs is left behind."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _send(self, delivery: Delivery) -> Outcome:
        try:
            mail = self._mail(delivery)
        except UnreadableMessage as error:
            return Unsendable(error.reason)
        attempt = _Attempt(self._settings, self._tls)
        work = asyncio.get_running_loop().run_in_executor(self._thread, attempt.run, mail)
        try:
            # A server that says a byte now and then would never run into the time-out of one read.
            async with asyncio.timeout(4 * self._settings.timeout):
                return await asyncio.shield(work)
        except TimeoutError:
            attempt.cut()
            return await work
        except asyncio.CancelledError:
            attempt.cut()
            raise

    def _mail(self, delivery: Delivery) -> bytes:
        """Raises UnreadableMessage where a template needs a value of what is no message."""
        settings = self._settings
        message = Message.parse(delivery.body) if self._subject.segments or self._body.segments else None
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = settings.sender
        mail["To"] = ", ".join(settings.to)
        mail["Subject"] = _encodable(" ".join(self._subject.text(message, delivery).split()))
        mail["Date"] = format_datetime(from_us(self._clock.now_us()))
        own = hashlib.blake2b(f"{self._lane}\0{delivery.id}\0{delivery.seq}".encode(), digest_size=12).hexdigest()
        mail["Message-ID"] = f"<{own}@{settings.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday replies, please
        mail.set_content(_encodable(self._body.text(message, delivery)))
        if settings.attach == "message":
            form = form_of(delivery.body)
            subtype = MEDIA_TYPE_OF[form].partition("/")[2]
            filename = f"message-{delivery.seq}.{form}"
            mail.add_attachment(delivery.body, maintype="application", subtype=subtype, filename=filename)
        return mail.as_bytes()


def _encodable(text: str) -> str:
    """Bytes that were no characters, as the sign for that."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Ended(Exception):
    """The attempt came to this."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class _Attempt:
    """One mail over one connection, on the sink's thread; `cut` may come from another."""

    def __init__(self, settings: EmailSinkSettings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._smtp: smtplib.SMTP | None = None
        self._is_cut = False
        self._has_begun = False

    def run(self, mail: bytes) -> Outcome:
        """Never raises for what the server does."""
        try:
            smtp = self._connected()
            try:
                return self._sent(smtp, mail)
            finally:
                self._leave(smtp)
        except _Ended as end:
            return end.outcome
        except smtplib.SMTPAuthenticationError as error:
            return Unreachable(f"the mail server does not take user and password ({error.smtp_code})")
        except smtplib.SMTPNotSupportedError:
            return Unreachable("the mail server offers no STARTTLS, or no login that we know")
        except (smtplib.SMTPException, OSError, ValueError) as error:
            what = "time-out" if self._is_cut else _why(error)
            if self._has_begun:
                return Unanswered(f"no answer to the mail: {what}")
            return Unreachable(f"no conversation with the mail server: {what}")

    def cut(self) -> None:
        """Break the connection, so that the thread comes back."""
        self._is_cut = True
        smtp = self._smtp
        if smtp is not None and smtp.sock is not None:
            try:
                smtp.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        host, port, timeout = settings.host, settings.server_port, settings.timeout
        smtp: smtplib.SMTP
        if settings.tls == "tls":
            smtp = smtplib.SMTP_SSL(timeout=timeout, context=self._tls)
        else:
            smtp = smtplib.SMTP(timeout=timeout)
        # Made and connected in two steps, so that `cut` can end the first words of a server, too.
        smtp._host = host  # type: ignore[attr-defined]  # the name for TLS, which only the one step sets
        self._smtp = smtp
        try:
            code, _ = smtp.connect(host, port)
            if code != 220:
                raise _Ended(Unreachable(f"the mail server takes no mail now ({code})"))
            if settings.tls == "starttls":
                smtp.starttls(context=self._tls)
            smtp.ehlo_or_helo_if_needed()
            if settings.user is not None and settings.password is not None:
                smtp.login(settings.user, settings.password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _sent(self, smtp: smtplib.SMTP, mail: bytes) -> Outcome:
        if self._is_cut:
            return Unreachable("no conversation with the mail server: time-out")
        _check(smtp.mail(self._settings.sender)[0], "the sender's address", "AR")
        for number, address in enumerate(self._settings.to, 1):
            _check(smtp.rcpt(address)[0], f"receiver {number}", "AR")
        code, _ = smtp.docmd("DATA")
        if code != 354:
            _check(code, "the mail", "AE")
            return Unreachable(f"the mail server answered DATA with {code}")
        self._has_begun = True
        quoted = re.sub(rb"(?m)^\.", b"..", mail)
        smtp.send(quoted + (b"" if quoted.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        code, _ = smtp.getreply()
        _check(code, "the mail", "AE")
        return Delivered(note=f"the mail server took it ({code})")

    def _leave(self, smtp: smtplib.SMTP) -> None:
        """Say goodbye, and do not mind what comes of it: the outcome is known."""
        try:
            if not self._is_cut and smtp.sock is not None:
                smtp.sock.settimeout(1.0)
                smtp.quit()
        except (smtplib.SMTPException, OSError):
            pass
        finally:
            smtp.close()


def _check(code: int, what: str, ack_code: Literal["AE", "AR"]) -> None:
    """Raises _Ended unless the server said yes, and SMTPResponseException where it said neither yes nor no."""
    if 200 <= code < 300:
        return
    if 500 <= code < 600:
        raise _Ended(Refused(ack_code, note=f"the mail server refuses {what} ({code})"))
    if not 300 <= code < 500:
        raise smtplib.SMTPResponseException(code, b"")  # half a reply, as of a server that died over it
    raise _Ended(Unreachable(f"the mail server does not take {what} now ({code})"))


def _why(error: Exception) -> str:
    """The kind of failure, in words, without a text of the server's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not pass: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "time-out"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        # smtplib has the same name for a reply that does not come.
        return "time-out" if isinstance(error.__context__, TimeoutError) else "it hung up"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"it answered {error.smtp_code}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
