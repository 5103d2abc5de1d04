"""What follows an outcome: done, again later, set aside, given up, to another destination, or a stop (hl7.md item 19).

An answer that says no is looked up by its ERR code, then by its MSA-1 code, then as "otherwise". AE and CR speak of
the content, where the same message comes to the same end; AR and CE may be about anything else and may pass later,
but for those whose ERR does speak of the content (reliability.md S3, S4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from engine.config.actions import CONTENT_CODES
from engine.model.ids import DestinationName
from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable

Refusal = Literal["hold", "retry", "skip", "stop", "redirect"]

MOST_REDIRECTS = 8
"""So often a message goes on from one destination to the next; then it is held. A site's check refuses circles, but
channels change while messages wait, and people redirect, too."""


@dataclass(slots=True, frozen=True)
class Action:
    """What to do. `most_attempts`, `most_age_s`: a retry's own limits, 0 for the destination's; `then`: what follows
    them. `to`: the destination of a redirect, be it at once or then."""

    kind: Refusal
    most_attempts: int = 0
    most_age_s: float = 0.0
    then: Refusal = "hold"
    to: DestinationName | None = None


@dataclass(slots=True, frozen=True)
class Rules:
    """Actions by code, and the one for all others."""

    otherwise: Action
    by_code: Mapping[str, Action] = field(default_factory=dict)


Choice = Refusal | Action | Rules
"""A word alone is meant for every code."""


@dataclass(slots=True, frozen=True)
class Policy:
    """One destination's choices. Times in seconds; a limit of 0 is none.

    `on_refused`: AE and CR, which speak of the content: the same message comes to the same end.
    `on_rejected`: AR and CE, which may be about anything else and may pass later.
    `most_attempts`, `most_age_s`: how long a retry goes on that says nothing itself.
    """

    on_refused: Choice = "hold"
    on_rejected: Choice = "retry"
    on_unanswered: Choice = "retry"
    first_s: float = 1.0
    most_s: float = 60.0
    jitter: float = 0.2
    most_attempts: int = 0
    most_age_s: float = 0.0
    on_unreachable: Choice = "retry"
    on_unsendable: Choice = "hold"


@dataclass(slots=True, frozen=True)
class Done:
    """Delivered, for good."""


@dataclass(slots=True, frozen=True)
class Retry:
    """Again, not before `delay_s` from now; what is behind it in the lane waits."""

    delay_s: float


@dataclass(slots=True, frozen=True)
class SetAside:
    """`held` for a person, or `failed` for good; the lane goes on with the next."""

    state: Literal["held", "failed"]


@dataclass(slots=True, frozen=True)
class Redirect:
    """Another destination takes over; the lane goes on with the next."""

    to: DestinationName


@dataclass(slots=True, frozen=True)
class Stop:
    """The lane stands still with this message at its head until a person releases it."""


Next = Done | Retry | SetAside | Redirect | Stop


def action_for(outcome: Outcome, policy: Policy) -> Action | None:
    """What the policy says of this outcome; None of one that arrived."""
    match outcome:
        case Delivered():
            return None
        case Refused(ack_code=ack_code, hl7_code=code):
            content = ack_code not in ("AR", "CE") or code in CONTENT_CODES
            return _chosen(policy.on_refused if content else policy.on_rejected, ack_code, code)
        case Unanswered():
            return _chosen(policy.on_unanswered)
        case Unreachable():
            return _chosen(policy.on_unreachable)
        case Unsendable():
            return _chosen(policy.on_unsendable)
        case _:
            assert_never(outcome)


def _chosen(choice: Choice, ack_code: str = "", hl7_code: str = "") -> Action:
    if isinstance(choice, Action):
        return choice
    if isinstance(choice, Rules):
        by_code = choice.by_code
        return by_code.get(hl7_code) or by_code.get(ack_code) or choice.otherwise
    return Action(choice)


def after(
    outcome: Outcome,
    policy: Policy,
    attempts: int,
    age_s: float,
    jitter: float,
    *,
    redirects: int = 0,
    down_s: float = 0.0,
    failures: int = 0,
) -> Next:
    """The next move for a delivery whose attempt number `attempts` ended in `outcome`.

    `attempts` and `age_s` (time since the first attempt) count from a person's last release. `jitter`: a random
    number in [0, 1). `redirects`: how often the message went on already. `down_s` and `failures`: for how long, and
    how often in a row, the destination could not be reached.
    """
    action = action_for(outcome, policy)
    if action is None:
        return Done()
    if isinstance(outcome, Unreachable) and passes_on(action, down_s, failures):
        return _final("redirect", action, redirects)
    if action.kind != "retry":
        return _final(action.kind, action, redirects)
    own = bool(action.most_attempts or action.most_age_s)
    most_attempts = action.most_attempts if own else policy.most_attempts
    most_age_s = action.most_age_s if own else policy.most_age_s
    if (most_attempts and attempts >= most_attempts) or (most_age_s and age_s >= most_age_s):
        return _final(action.then, action, redirects)
    return Retry(backoff(policy, attempts, jitter))


def passes_on(action: Action, down_s: float, failures: int) -> bool:
    """Whether messages for a destination that is down go elsewhere now, also those that were never tried.

    A limit that ends in a redirect counts from when the destination went down: else each message in turn would wait
    out its own, one behind the other.
    """
    if action.kind == "redirect":
        return True
    if action.kind != "retry" or action.then != "redirect":
        return False
    by_count = bool(action.most_attempts) and failures >= action.most_attempts
    return by_count or (bool(action.most_age_s) and down_s >= action.most_age_s)


def unreachable_action(policy: Policy) -> Action:
    """What the policy says of a destination that is down."""
    return _chosen(policy.on_unreachable)


def _final(kind: Refusal, action: Action, redirects: int) -> Next:
    match kind:
        case "hold" | "retry":
            return SetAside("held")
        case "skip":
            return SetAside("failed")
        case "stop":
            return Stop()
        case "redirect":
            if action.to is None or redirects >= MOST_REDIRECTS:
                return SetAside("held")
            return Redirect(action.to)
        case _:
            assert_never(kind)


def backoff(policy: Policy, attempts: int, jitter: float) -> float:
    """Seconds to wait after attempt number `attempts` (from 1): doubling from `first_s`, capped, then spread.

    The spread is downwards only, so that `most_s` is what it says.
    """
    wait = min(policy.most_s, policy.first_s * 2.0 ** min(attempts - 1, 30))
    return wait * (1.0 - policy.jitter * jitter)


def word(outcome: Outcome) -> str:
    """The metric's word for an outcome."""
    match outcome:
        case Delivered():
            return "delivered"
        case Refused():
            return "refused"
        case Unreachable():
            return "unreachable"
        case Unanswered():
            return "unanswered"
        case Unsendable():
            return "unsendable"
        case _:
            assert_never(outcome)
