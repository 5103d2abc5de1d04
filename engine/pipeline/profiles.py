"""Messages held against a channel's profile, or the standard alone, before its steps (DESIGN section 5).

Each broken rule is one finding: E280 for what rejects, W280 for what warns, I280 for what is observed, with the rule's
id in `rule`. Its mode is the rule's own, and no more than the channel allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from engine.config.profile_load import LoadedProfile
from engine.config.types import ProfileText
from engine.hl7.message import Message
from engine.hl7.profile import NO_PROFILE, Mode, Profile, ProfileSet, Sender, Standard
from engine.hl7.validate import STANDARD_RULES, Validation, Validator
from engine.model.finding import Finding, Severity
from engine.pipeline.step import CompiledStep, Run, Stop
from engine.pipeline.stops import StopKind
from engine.pipeline.work import HELD

MOST_FINDINGS: Final = 100
"""Of one message, those that reject before all others; W281 says how many more there were."""

_RANK: Mapping[Mode, int] = MappingProxyType({"observe": 0, "warn": 1, "reject": 2})
_CODES: Mapping[Mode, str] = MappingProxyType({"reject": "E280", "warn": "W280", "observe": "I280"})
_SEVERITIES: Mapping[Mode, Severity] = MappingProxyType(
    {"reject": "error", "warn": "warning", "observe": "information"}
)


@dataclass(slots=True, frozen=True)
class Verdict:
    """What was found in one message: the findings that reject it, and the others."""

    rejecting: tuple[Finding, ...] = ()
    others: tuple[Finding, ...] = ()


NOTHING: Final = Verdict()


def standard_alone(mode: Mode) -> ProfileSet:
    """Everybody's messages against the standard; its errors come to `mode`."""
    return ProfileSet(((Sender(), replace(NO_PROFILE, standard=Standard(mode))),))


class ProfileCheck:
    """Holds messages against the profile of their sender; those of a sender without one are not looked at.

    `most` is the most that a broken rule comes to; `label` names the place in the channel's file.
    """

    def __init__(self, profiles: ProfileSet, most: Mode, label: str) -> None:
        self._profiles = profiles
        self._most = most
        self._label = label
        by_profile: dict[int, _Held] = {}
        for _, profile in profiles.choices:
            by_profile.setdefault(id(profile), _Held(profile))
        self._held = by_profile

    def __call__(self, message: Message) -> Verdict:
        """What the message's profile finds in it. A rule's condition may raise ValueTooLong; TooMuchWork is the
        only other exception.
        """
        profile = self._profiles.choose(message)
        if profile is None:
            return NOTHING
        message.spend(HELD * len(message))
        held = self._held[id(profile)]
        validation = held.validator.validate(message)
        if not validation.violations:
            return NOTHING
        return self._verdict(held, validation)

    def _verdict(self, held: "_Held", validation: Validation) -> Verdict:
        found: dict[Mode, list[Finding]] = {"reject": [], "warn": [], "observe": []}
        for broken in validation.violations:
            mode = self._capped(broken.mode)
            text = f"{broken.text} (owner: {broken.owner})" if broken.owner else broken.text
            found[mode].append(self._finding(mode, text, broken.location, broken.hl7_code, broken.rule))
        for rule, count in validation.left_out.items():
            mode = self._capped(held.mode(rule))
            if mode == "reject" and not found["reject"]:
                found["reject"].append(self._finding(mode, f"{rule} is broken in {count} more places", "", "", rule))
        every = [*found["reject"], *found["warn"], *found["observe"]]
        kept = every[:MOST_FINDINGS]
        rejecting = tuple(finding for finding in kept if finding.severity == "error")
        others = [finding for finding in kept if finding.severity != "error"]
        more = len(every) - len(kept) + validation.left_out_count
        if more:
            text = f"{more} more findings of the same message are not kept"
            others.append(Finding("W281", "warning", text, "", "", self._label))
        return Verdict(rejecting, tuple(others))

    def _capped(self, mode: Mode) -> Mode:
        return mode if _RANK[mode] <= _RANK[self._most] else self._most

    def _finding(self, mode: Mode, text: str, location: str, hl7_code: str, rule: str) -> Finding:
        return Finding(_CODES[mode], _SEVERITIES[mode], text, location, hl7_code, self._label, rule)


class _Held:
    """A profile with its validator, and what its rules come to by their ids."""

    def __init__(self, profile: Profile) -> None:
        self.validator = Validator(profile)
        self._standard = profile.standard
        self._modes: Mapping[str, Mode] = {rule.id: rule.mode for rule in profile.all_rules()}

    def mode(self, rule: str) -> Mode:
        """Of a rule whose places were too many to tell apart."""
        if rule in self._modes:
            return self._modes[rule]
        mode = self._standard.mode(rule)
        known = STANDARD_RULES.get(rule) or STANDARD_RULES.get(rule.partition(".")[0])
        if mode == "off" or (known is not None and known.severity != "error"):
            return "observe"
        return mode


def profiles_named(name: ProfileText, loaded: Mapping[str, LoadedProfile], mode: Mode) -> ProfileSet:
    """What a channel's file names: the profiles of a file, or the standard alone, whose errors come to `mode`."""
    return standard_alone(mode) if name.is_standard else loaded[str(name)].profiles


def profile_step(check: ProfileCheck, *, stops: StopKind = "rejected") -> CompiledStep:
    """The check as a step: what rejects stops the message in the way that `stops` says."""

    def validate(message: Message, run: Run) -> Stop | None:
        verdict = check(message)
        if verdict.others:
            run.findings += verdict.others
        return Stop(stops, verdict.rejecting) if verdict.rejecting else None

    return validate
