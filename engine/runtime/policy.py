"""What follows an outcome: done, again later, set aside, given up, or a stop (hl7.md item 19)."""

from dataclasses import dataclass
from typing import Literal, assert_never

from engine.model.outcome import Delivered, Outcome, Refused, Unanswered, Unreachable, Unsendable

Refusal = Literal["hold", "retry", "skip", "stop"]


@dataclass(slots=True, frozen=True)
class Policy:
    """One destination's choices. Times in seconds; a limit of 0 is none.

    `on_refused`: AE and CR, which speak of the content: the same message comes to the same end.
    `on_rejected`: AR and CE, which may be about anything else and may pass later.
    """

    on_refused: Refusal = "hold"
    on_rejected: Refusal = "retry"
    on_unanswered: Literal["retry", "hold"] = "retry"
    first_s: float = 1.0
    most_s: float = 60.0
    jitter: float = 0.2
    most_attempts: int = 0
    most_age_s: float = 0.0


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
class Stop:
    """The lane stands still with this message at its head until a person releases it."""


Next = Done | Retry | SetAside | Stop

# ERR codes of an AR or CE that do speak of the content: a retry comes to the same end (reliability.md S4).
CONTENT_CODES = frozenset({"100", "101", "102", "103", "104", "198", "200", "201", "202", "203", "204", "205"})


def after(outcome: Outcome, policy: Policy, attempts: int, age_s: float, jitter: float) -> Next:
    """The next move for a delivery whose attempt number `attempts` ended in `outcome`.

    `age_s`: time since the first attempt. `jitter`: a random number in [0, 1).
    """
    match outcome:
        case Delivered():
            return Done()
        case Refused(ack_code="AR" | "CE", hl7_code=code) if code not in CONTENT_CODES:
            return _by(policy.on_rejected, policy, attempts, age_s, jitter)
        case Refused():
            return _by(policy.on_refused, policy, attempts, age_s, jitter)
        case Unanswered():
            return _by(policy.on_unanswered, policy, attempts, age_s, jitter)
        case Unreachable():
            return _by("retry", policy, attempts, age_s, jitter)
        case Unsendable():
            return SetAside("held")
        case _:
            assert_never(outcome)


def _by(choice: Refusal, policy: Policy, attempts: int, age_s: float, jitter: float) -> Next:
    match choice:
        case "hold":
            return SetAside("held")
        case "skip":
            return SetAside("failed")
        case "stop":
            return Stop()
        case "retry":
            if policy.most_attempts and attempts >= policy.most_attempts:
                return SetAside("held")
            if policy.most_age_s and age_s >= policy.most_age_s:
                return SetAside("held")
            return Retry(backoff(policy, attempts, jitter))
        case _:
            assert_never(choice)


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
