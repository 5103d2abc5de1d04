"""What the API takes and gives, as models: the OpenAPI document is made of these and nothing else.

Times are RFC 3339 in UTC; '' where there is none. No list holds a value of a message: those are asked for one by one,
and each time is on record.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, field_validator

from engine.adapters.api.entries import ApiModel
from engine.model.access import ROLES, Role
from engine.model.states import DeliveryState, MessageState
from engine.ports.clock import from_us

MOST_ID: Final = 2**62
MOST_PAGE: Final = 1000
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

Name = Annotated[str, StringConstraints(pattern=NAME)]
UserName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]{0,63}$")]


def _whole(value: object) -> object:
    """JSON has one kind of number: 84.0 is a whole one there."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[int, Field(ge=1, le=MOST_ID), BeforeValidator(_whole)]
Limit = Annotated[int, Field(ge=1, le=MOST_PAGE), BeforeValidator(_whole)]
Revision = Annotated[int, Field(ge=0, le=MOST_ID), BeforeValidator(_whole)]
Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]
LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
"""One line of characters that show: neither control characters (also C1: U+009B begins an escape sequence of terminals)
nor what turns the direction of the text behind it."""
Sentence = Annotated[str, StringConstraints(max_length=500, pattern=LINE)]
RunKey = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")]
Password = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Time = Annotated[str, StringConstraints(max_length=40), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 with its zone: 2026-11-22T08:00:00Z."""
Where = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62})$")]
GRANTS_SCHEMA: Final = {
    "type": "object",
    "patternProperties": {r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62})$": {"enum": list(ROLES)}},
    "additionalProperties": False,
    "maxProperties": 1000,
}
Grants = Annotated[dict[Where, Role], Field(max_length=1000), WithJsonSchema(GRANTS_SCHEMA)]
"""A role by channel; `*` is the whole site."""


def time_of(us: int) -> str:
    """RFC 3339 in UTC; '' for 0."""
    return from_us(us).isoformat(timespec="milliseconds").replace("+00:00", "Z") if us else ""


class ChannelPath(ApiModel):
    channel: Name


class LanePath(ApiModel):
    channel: Name
    destination: Name


class SeqPath(ApiModel):
    seq: Number


class UserPath(ApiModel):
    user: UserName


class TokenPath(ApiModel):
    token: UserName


# -- the engine -----------------------------------------------------------------------------------


class Health(ApiModel):
    status: Literal["alive"] = "alive"


class Ready(ApiModel):
    ready: bool


class Version(ApiModel):
    name: str
    version: str
    environment: str
    ready: bool
    reason: str


class Lane(ApiModel):
    """A destination now; `state` as in `segmill queue list`."""

    channel: str
    destination: str
    state: str
    queued: int
    held: int
    oldest_at: str
    attempts: int
    last_note: str
    head: int | None
    paused_by: str
    blocked: int
    blocked_by: list[int]


class Sender(ApiModel):
    sender: str
    charsets: dict[str, int]


class Channel(ApiModel):
    channel: str
    listening: str
    connections: int
    received: int
    outcomes: dict[str, int]
    version: int
    intake_paused_by: str
    lanes: list[Lane]
    senders: list[Sender]


class Channels(ApiModel):
    channels: list[Channel]


class Lanes(ApiModel):
    lanes: list[Lane]


class QueuedItem(ApiModel):
    delivery: int
    seq: int
    urgent: bool
    attempts: int
    next_at: str


class Queue(ApiModel):
    """`next`: the cursor of what follows; None at the end."""

    deliveries: list[QueuedItem]
    next: str | None


class PageQuery(ApiModel):
    cursor: Cursor | None = None
    limit: Limit = 100


class ReasonBody(ApiModel):
    reason: Sentence = ""


class Reload(ApiModel):
    """As `segmill plan --json` and `segmill reload --json`."""

    outcome: str
    sentence: str
    channels: list[dict[str, Any]]
    settings: list[str]
    needs_restart: list[str]
    errors: list[dict[str, Any]]
    pending: list[str]
    notes: list[str]
    exit_code: int


# -- signing in -----------------------------------------------------------------------------------


class SignInBody(ApiModel):
    name: Annotated[str, StringConstraints(max_length=64)]
    password: Annotated[str, StringConstraints(max_length=256)]
    code: Annotated[str, StringConstraints(max_length=40)] = ""


class Me(ApiModel):
    """Who is signed in. `csrf`: for the header X-CSRF-Token; '' for a token, which needs none."""

    name: str
    grants: dict[str, Role]
    must_change: bool
    is_token: bool
    csrf: str
    until: str
    environment: str


class PasswordBody(ApiModel):
    old: Password
    new: Password


class Done(ApiModel):
    done: Literal[True] = True


# -- users and tokens -----------------------------------------------------------------------------


class UserShown(ApiModel):
    name: str
    grants: dict[str, Role]
    must_change: bool
    disabled: bool
    created_at: str
    changed_at: str
    sessions: int


class Users(ApiModel):
    users: list[UserShown]


class UserBody(ApiModel):
    name: UserName
    grants: Grants


class GrantsBody(ApiModel):
    grants: Grants


class OneTime(ApiModel):
    """A password for signing in once, within a day. It is not shown again."""

    name: str
    password: str
    until: str


class TokenBody(ApiModel):
    name: UserName
    grants: Annotated[
        dict[Where, Role], Field(min_length=1, max_length=1000), WithJsonSchema(GRANTS_SCHEMA | {"minProperties": 1})
    ]
    days: Annotated[int, Field(ge=1, le=366), BeforeValidator(_whole)] = 90


class TokenShown(ApiModel):
    name: str
    grants: dict[str, Role]
    created_at: str
    created_by: str
    until: str
    revoked: bool


class Tokens(ApiModel):
    tokens: list[TokenShown]


class TokenMade(ApiModel):
    """Its secret is not shown again."""

    name: str
    token: str


class AuditItem(ApiModel):
    id: int
    at: str
    actor: str
    action: str
    reason: str
    scope: str | None
    counts: dict[str, int]
    ids: str
    key: str
    hash: str


class Audit(ApiModel):
    records: list[AuditItem]
    next: str | None


class AuditQuery(PageQuery):
    """Oldest first, behind `cursor`. `values`: with what was asked for, which may quote values of messages."""

    values: bool = False


class AuditVerdict(ApiModel):
    """`broken_at`: the first record that is not what it was; `unanchored`: the first that the anchor has otherwise."""

    whole: bool
    records: int
    hash: str
    broken_at: int | None
    unanchored: int | None


# -- messages -------------------------------------------------------------------------------------


class FindingShown(ApiModel):
    code: str
    severity: str
    text: str
    location: str
    step: str


class MessageShown(ApiModel):
    seq: int
    channel: str
    version: int
    received_at: str
    sender: str
    peer: str
    message_type: str
    control_id: str
    state: MessageState
    ack_code: str
    findings: list[FindingShown]


class AttemptShown(ApiModel):
    number: int
    at: str
    code: str
    note: str


class DeliveryShown(ApiModel):
    id: int
    destination: str
    state: DeliveryState
    attempts: int
    next_at: str
    done_at: str
    code: str
    note: str
    maybe_sent: bool
    urgent: bool
    took_over_from: int | None
    earlier_attempts: list[AttemptShown]


class MessageWhole(MessageShown):
    """A message with its deliveries, without any value of it. `edited`: the messages that were made of this one."""

    deliveries: list[DeliveryShown]
    origin: int | None
    edited: list[int]


class Messages(ApiModel):
    """`looked_at`: with `where`, how many were; `next` may then come with few or no messages: go on."""

    messages: list[MessageShown]
    next: str | None
    looked_at: int


class BodyShown(ApiModel):
    """Bytes as Base64; None where they are no longer kept, or not what they were."""

    seq: int
    raw: str | None
    ack: str
    deliveries: list["DeliveryBody"]


class DeliveryBody(ApiModel):
    id: int
    destination: str
    body: str | None
    answer: str


class Narrow(ApiModel):
    """Which messages, by what may stand in an address: nothing of a message's values."""

    channel: Name | None = None
    state: list[MessageState | DeliveryState] = Field(default=[], max_length=10)
    since: Time | None = None
    until: Time | None = None
    control_id: Annotated[str, StringConstraints(max_length=200)] | None = None

    @field_validator("state", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class Search(Narrow):
    """Which messages. `where`: an expression; it looks at values, and so needs the right to read them.

    It comes in a body and never in an address, which browsers and proxies keep.
    """

    where: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None


class MessagesQuery(Narrow):
    cursor: Cursor | None = None
    limit: Limit = 100


class SearchBody(Search):
    cursor: Cursor | None = None
    limit: Limit = 100


class ExportQuery(Narrow):
    """`bodies`: with the bytes, as Base64: then it is a reading of each."""

    bodies: bool = False
    limit: Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)] = 10_000


class ExportBody(Search):
    """As ExportQuery."""

    bodies: bool = False
    limit: Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)] = 10_000


# -- orders ---------------------------------------------------------------------------------------

PlannedAct = Literal["retry", "hold", "release", "skip", "redirect", "resend", "reprocess", "discard"]


class What(ApiModel):
    """Which messages or deliveries: by number, of a destination, or by a search; all that is said must hold."""

    seqs: list[Number] = Field(default=[], max_length=10_000)
    deliveries: list[Number] = Field(default=[], max_length=10_000)
    destination: Name | None = None
    search: Search = Search()


class PlanBody(ApiModel):
    """What would be done. `to`: where a redirect or a resend goes; `destinations`: where a resend goes, several.

    `as_of`: with which version of its channel a message is processed again, `received`: the one of that time.
    """

    action: PlannedAct
    what: What
    to: Name | None = None
    destinations: list[Name] = Field(default=[], max_length=100)
    as_of: Literal["received"] | Number | None = None


class PlanRow(ApiModel):
    channel: str
    destination: str
    state: str
    count: int


class Plan(ApiModel):
    """`plan`: what an order must name, so that it does this and nothing else."""

    plan: str
    action: PlannedAct
    messages: int
    deliveries: int
    rows: list[PlanRow]
    first: list[int]


class OrderBody(PlanBody):
    """Do what was planned. `key`: what was done under it is not done again; with none each order is its own."""

    plan: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    reason: Sentence = ""
    key: RunKey = ""


class LeftAlone(ApiModel):
    seq: int
    reason: str


class Report(ApiModel):
    messages: int
    deliveries: int
    left: list[LeftAlone]
    more_left: int
    made: list[int]
    done_before: bool


# -- tables ---------------------------------------------------------------------------------------


class MissesQuery(ApiModel):
    channel: Name | None = None


class MissShown(ApiModel):
    channel: str
    table: str
    key: str
    messages: list[int]


class Misses(ApiModel):
    """`unread`: why the causes of some could not be found, with how many those are."""

    misses: list[MissShown]
    unread: dict[str, int]
    is_cut: bool


class RowBody(ApiModel):
    """A row at the end of a channel's table: its key, its value, and what further columns there are."""

    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\.csv$")]
    cells: list[Annotated[str, StringConstraints(max_length=1000, pattern=LINE)]] = Field(min_length=2, max_length=50)
    reason: Sentence = ""


class RowAdded(ApiModel):
    file: str
    line: int
