"""Records of the audit as DICOM audit messages: DICOM PS3.15 A.5 (2026), the schema of A.5.1, in UTF-8 XML.

No message's value is in one but the patient identifiers, where the settings ask for them: what the standard demands of
a patient is `<none>` otherwise, as archives do for one that is not known. The numbers of our messages are there, with
the record's number and hash, by which a repository tells what it has twice or lacks, and what was changed here.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Literal, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from engine.adapters.syslog import NOTICE, WARNING, syslog_message
from engine.config.audit import SyslogOptions
from engine.model.audit import AuditRow
from engine.ports.clock import from_us

MESSAGE_ID: Final = "DICOM+RFC3881"
MOST_TEXT: Final = 4_000
"""Bytes of one text: all together stay below the 32768 octets that every repository takes (PS3.15 A.6)."""
MOST_PATIENTS: Final = 30
"""In one message; more are in further messages of the same record."""
MOST_ID: Final = 128
NO_PATIENT: Final = "<none>"
OURS: Final = "99SEGMILL"


class Code(NamedTuple):
    """A coded value: CodedValueType of the schema."""

    value: str
    meaning: str
    system: str = "DCM"

    @property
    def attributes(self) -> str:
        return f"csd-code={quoteattr(self.value)} codeSystemName={quoteattr(self.system)} " + (
            f"originalText={quoteattr(self.meaning)}"
        )


APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")
AUDIT_LOG_USED: Final = Code("110101", "Audit Log Used")
EXPORT: Final = Code("110106", "Export")
PATIENT_RECORD: Final = Code("110110", "Patient Record")
QUERY: Final = Code("110112", "Query")
SECURITY_ALERT: Final = Code("110113", "Security Alert")
USER_AUTHENTICATION: Final = Code("110114", "User Authentication")

START: Final = Code("110120", "Application Start")
STOP: Final = Code("110121", "Application Stop")
LOGIN: Final = Code("110122", "Login")
LOGOUT: Final = Code("110123", "Logout")
SECURITY_CONFIGURATION: Final = Code("110129", "Security Configuration")
SOFTWARE_CONFIGURATION: Final = Code("110131", "Software Configuration")
RESTRICTED_FUNCTION: Final = Code("110132", "Use of Restricted Function")
ROLES_CHANGED: Final = Code("110136", "Security Roles Changed")
USER_CHANGED: Final = Code("110137", "User Security Attributes Changed")

APPLICATION: Final = Code("110150", "Application")
LAUNCHER: Final = Code("110151", "Application Launcher")
DESTINATION: Final = Code("110152", "Destination Role ID")
SOURCE: Final = Code("110153", "Source Role ID")
DESTINATION_MEDIA: Final = Code("110154", "Destination Media")
URI_MEDIA: Final = Code("110037", "URI")
NODE_ID: Final = Code("110182", "Node ID")

PATIENT_NUMBER: Final = Code("2", "Patient Number", "RFC-3881")
REPORT_NUMBER: Final = Code("9", "Report Number", "RFC-3881")
SEARCH_CRITERIA: Final = Code("10", "Search Criteria", "RFC-3881")
URI: Final = Code("12", "URI", "RFC-3881")

EventKind = Literal["activity", "authentication", "log", "export", "record", "query", "alert"]


class Event(NamedTuple):
    """What an action is in the standard's terms."""

    kind: EventKind
    code: Code
    action: Literal["C", "R", "U", "D", "E"]
    type: Code | None = None


_CHANGE: Final = Event("record", PATIENT_RECORD, "U")
EVENTS: Final = MappingProxyType(
    {
        "start": Event("activity", APPLICATION_ACTIVITY, "E", START),
        "stop": Event("activity", APPLICATION_ACTIVITY, "E", STOP),
        "sign-in": Event("authentication", USER_AUTHENTICATION, "E", LOGIN),
        "sign-in-failed": Event("authentication", USER_AUTHENTICATION, "E", LOGIN),
        "sign-out": Event("authentication", USER_AUTHENTICATION, "E", LOGOUT),
        "password": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "user-add": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "user-passwd": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "user-disable": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "user-enable": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "token-add": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "token-revoke": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "second-factor-begin": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "second-factor-on": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "second-factor-off": Event("alert", SECURITY_ALERT, "E", USER_CHANGED),
        "user-grant": Event("alert", SECURITY_ALERT, "E", ROLES_CHANGED),
        "reload": Event("alert", SECURITY_ALERT, "E", SOFTWARE_CONFIGURATION),
        "table-row": Event("alert", SECURITY_ALERT, "E", SOFTWARE_CONFIGURATION),
        "search": Event("query", QUERY, "E"),
        "export": Event("export", EXPORT, "R"),
        "read": Event("record", PATIENT_RECORD, "R"),
        "edit": Event("record", PATIENT_RECORD, "C"),
        "discard": Event("record", PATIENT_RECORD, "D"),
        "resend": _CHANGE,
        "reprocess": _CHANGE,
        "release": _CHANGE,
        "hold": _CHANGE,
        "retry": _CHANGE,
        "skip": _CHANGE,
        "redirect": _CHANGE,
        "set-status": _CHANGE,
    }
)
"""By the word in the audit. What is not here, or touches no message, is the use of a restricted function."""
OTHER: Final = Event("alert", SECURITY_ALERT, "E", RESTRICTED_FUNCTION)
LOG_USED: Final = Event("log", AUDIT_LOG_USED, "R")
THE_AUDIT: Final = "the audit"

Patients = Callable[[AuditRow], Sequence[str]]
"""The identifiers of those whose messages a record names, as far as the store still knows."""


@dataclass(slots=True, frozen=True)
class Actor:
    """Who did it. `address`: '' where it was this machine's own user, or the engine."""

    user: str
    address: str = ""


def actor_of(row: AuditRow) -> Actor:
    """From `anna from 10.1.2.3`, `anna (uid 1000)`, `somebody from 10.1.2.3`, `the engine`."""
    name, found, address = row.actor.rpartition(" from ")
    actor = Actor(name, address) if found else Actor(row.actor)
    if row.action in ("sign-in-failed", "sign-in", "sign-out"):
        # Whose name was claimed; of one that is no user's nothing is kept.
        claimed = re.match(r"user ([^\s,;]+)", row.ids)
        actor = Actor(claimed[1] if claimed else "unknown", actor.address)
    return actor


def event_of(row: AuditRow) -> Event:
    """What a record is in the standard's terms."""
    if row.action == "read" and row.ids == THE_AUDIT:
        return LOG_USED
    event = EVENTS.get(row.action, OTHER)
    if event.kind == "record" and not re.search(r"\b(messages|deliveries|step) ", row.ids):
        return OTHER
    return event


class AuditMessages:
    """Makes them. Used on a thread; `patients` reads the store."""

    def __init__(self, options: SyslogOptions, host: str, url: str, patients: Patients | None = None) -> None:
        """`host`: this machine's name; `url`: what the audit is called by, a URI."""
        self._options = options
        self._host = host
        self._url = url
        self._patients = patients if options.patients else None

    def __call__(self, row: AuditRow) -> list[bytes]:
        """The syslog messages of one record: more than one where a part failed, or there are many patients."""
        return [self._syslog(row, outcome, text) for outcome, text in self.documents(row)]

    def bare(self, row: AuditRow) -> list[bytes]:
        """Of a record that the above fails with: its number and hash, by which it is found in the engine's audit."""
        # Nothing else of the row is in it, as who knows what of it was in the way.
        empty = replace(row, actor="the engine", action="untold", ids="", scope="", reason="", counts="")
        return [self._syslog(row, "4", self._document(empty, OTHER, "4", "no message could be made of it", ()))]

    def _syslog(self, row: AuditRow, outcome: str, text: str) -> bytes:
        return syslog_message(
            text,
            severity=NOTICE if outcome == "0" else WARNING,
            at=from_us(row.at_us),
            host=self._host,
            app="segmill",
            message_id=MESSAGE_ID,
        )

    def documents(self, row: AuditRow) -> Iterator[tuple[str, str]]:
        """Outcome and XML of each message of one record (PS3.15 A.5.2: none mixes what went well and what did not)."""
        event = event_of(row)
        counts = _counts(row)
        left = counts.get("left", 0)
        done = any(counts.get(key, 0) for key in ("messages", "deliveries", "steps"))
        if row.action == "sign-in-failed":
            yield "4", self._document(row, event, "4", "name or password was wrong", (NO_PATIENT,))
            return
        found = list(self._patients(row)) if self._patients is not None and event.kind in ("record", "export") else []
        if done or not left:
            groups = [found[at : at + MOST_PATIENTS] for at in range(0, len(found), MOST_PATIENTS)] or [[NO_PATIENT]]
            for group in groups:
                yield "0", self._document(row, event, "0", "", group)
        if left:
            yield "4", self._document(row, event, "4", f"{left} were left alone", (NO_PATIENT,))

    def _document(self, row: AuditRow, event: Event, outcome: str, why: str, patients: Sequence[str]) -> str:
        at = from_us(row.at_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        types = [event.type] if event.type is not None else []
        if event.kind not in ("activity", "authentication"):
            types.append(Code(row.action or "-", row.action or "-", OURS))
        described = f"<EventOutcomeDescription>{escape(why)}</EventOutcomeDescription>" if why else ""
        source = quoteattr(_printable(self._options.source))
        site = self._options.enterprise_site
        return "".join(
            (
                '<?xml version="1.0" encoding="UTF-8"?><AuditMessage>'
                f'<EventIdentification EventActionCode="{event.action}" EventDateTime="{at}" '
                f'EventOutcomeIndicator="{outcome}"><EventID {event.code.attributes}/>',
                *(f"<EventTypeCode {code.attributes}/>" for code in types),
                f"{described}</EventIdentification>",
                *self._participants(row, event),
                "<AuditSourceIdentification ",
                f"AuditEnterpriseSiteID={quoteattr(_printable(site))} " if site is not None else "",
                f'AuditSourceID={source}><AuditSourceTypeCode csd-code="4"/></AuditSourceIdentification>',
                *self._objects(row, event, patients),
                "</AuditMessage>",
            )
        )

    # -- who ------------------------------------------------------------------------------------

    def _participants(self, row: AuditRow, event: Event) -> Iterator[str]:
        """ActiveParticipant: who did it, and this engine, in the roles that A.5.3 gives them."""
        actor = actor_of(row)
        is_ours = actor.user == "the engine"
        match event.kind:
            case "activity":  # A.5.3.1
                yield self._engine(APPLICATION)
                yield self._person(actor, LAUNCHER) if not is_ours else self._engine(LAUNCHER)
            case "authentication":  # A.5.3.12: the address of the person is mandatory
                yield self._person(actor)
                yield self._engine()
            case "query":  # A.5.3.10
                yield self._person(actor, SOURCE)
                yield self._engine(DESTINATION)
            case "export":  # A.5.3.4: by whom, from what, and to where
                yield self._person(actor, SOURCE)
                yield self._engine(SOURCE)
                yield self._participant(
                    actor.address or self._host, False, (DESTINATION, DESTINATION_MEDIA), actor.address, URI_MEDIA
                )
            case "log" | "record" | "alert":  # A.5.3.2, A.5.3.11, and of a patient's record
                if not is_ours:
                    yield self._person(actor)
                yield self._engine()

    def _person(self, actor: Actor, *roles: Code) -> str:
        return self._participant(actor.user or "unknown", True, roles, actor.address)

    def _engine(self, *roles: Code) -> str:
        return self._participant(f"segmill@{self._host}", False, roles, "")

    def _participant(
        self, user: str, asks: bool, roles: Sequence[Code], address: str, media: Code | None = None
    ) -> str:
        point = address or self._host
        kind = "2" if _is_address(point) else "1"
        inner = "".join(f"<RoleIDCode {role.attributes}/>" for role in roles)
        if media is not None:
            inner += f"<MediaIdentifier><MediaType {media.attributes}/></MediaIdentifier>"
        return (
            f'<ActiveParticipant UserID={quoteattr(_printable(user))} UserIsRequestor="{"true" if asks else "false"}" '
            f'NetworkAccessPointID={quoteattr(_printable(point))} NetworkAccessPointTypeCode="{kind}">'
            f"{inner}</ActiveParticipant>"
        )

    # -- what -----------------------------------------------------------------------------------

    def _objects(self, row: AuditRow, event: Event, patients: Sequence[str]) -> Iterator[str]:
        """ParticipantObjectIdentification: of whom, and which of our messages, queues, users or files."""
        if event.kind in ("record", "export"):
            for patient in patients:
                yield _object("1", "1", PATIENT_NUMBER, _cut(patient, MOST_ID), name="withheld")
        details = self._details(row)
        ids = _cut(row.ids) or "-"
        match event.kind:
            case "log":
                yield _object("2", "13", URI, self._url, name="Security Audit Log", details=details)
            case "activity" | "authentication":
                # A.5.3.1 and A.5.3.12 ask for none: it is there for the record's number alone.
                yield _object("2", "13", URI, f"{self._url}#{row.id}", name="record", details=details)
            case "query":
                words = _cut(row.scope) if self._options.words else f"withheld: record {row.id} of the audit has it"
                yield _object("2", "24", SEARCH_CRITERIA, ids, query=words, details=details)
            case "record" | "export":
                yield _object("2", "3", REPORT_NUMBER, ids, name="stored messages", details=details)
            case _:
                details = [("Alert Description", f"{row.action}: {ids}"), *details]
                yield _object("2", "13", NODE_ID, self._host, name="Segmill", details=details)

    def _details(self, row: AuditRow) -> list[tuple[str, str]]:
        found = [("record", str(row.id)), ("hash", row.hash.hex()), ("counts", row.counts)]
        if self._options.words and row.reason:
            found.append(("reason", _cut(row.reason)))
        return found


def _object(
    kind: str,
    role: str,
    id_type: Code,
    id_: str,
    *,
    name: str = "",
    query: str | None = None,
    details: Sequence[tuple[str, str]] = (),
) -> str:
    """One of `name` and `query` is mandatory in the schema of A.5.1."""
    told = f"<ParticipantObjectName>{escape(name)}</ParticipantObjectName>"
    if query is not None:
        told = f"<ParticipantObjectQuery>{_base64(query)}</ParticipantObjectQuery>"
    pairs = "".join(
        f'<ParticipantObjectDetail type={quoteattr(key)} value="{_base64(value)}"/>' for key, value in details
    )
    return (
        f"<ParticipantObjectIdentification ParticipantObjectID={quoteattr(_printable(id_))} "
        f'ParticipantObjectTypeCode="{kind}" ParticipantObjectTypeCodeRole="{role}">'
        f"<ParticipantObjectIDTypeCode {id_type.attributes}/>{told}{pairs}</ParticipantObjectIdentification>"
    )


def _printable(text: str) -> str:
    """What XML 1.0 cannot hold is left out."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


def _cut(text: str, most: int = MOST_TEXT) -> str:
    told = text.encode("utf-8", "replace")
    return text if len(told) <= most else told[:most].decode("utf-8", "ignore") + "..."


def _counts(row: AuditRow) -> dict[str, int]:
    try:
        found = json.loads(row.counts or "{}")
    except ValueError:
        return {}
    return {key: value for key, value in found.items() if isinstance(value, int)} if isinstance(found, dict) else {}


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
