"""One profile over another: what is said later stands, key by key, and what is not said again stays.

An entry (a place, a segment, a rule by its name) of the later file takes over the keys of the earlier one that it does
not write itself. Keys that mean something only together (`usage` and `when`; `values` and `table`) are replaced
together. `for` and `profiles` are never taken over: whose messages a profile is for, its own file says.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from engine.config.profile import CrossRules, PlaceRules, ProfileBody, RuleSet, SegmentRules, StandardModes

_Key = TypeVar("_Key", bound=str)
_Entry = TypeVar("_Entry", PlaceRules, SegmentRules, CrossRules)

_OWN: Final = ("extends", "whose", "profiles", "fields", "segments", "rules", "messages", "switch_off", "standard")


def body_of(body: ProfileBody) -> ProfileBody:
    """The body alone, without `profiles`, and with the owner of the file on every rule that names none."""
    kept = {name: getattr(body, name) for name in ProfileBody.model_fields}
    fields_set = {name for name in body.model_fields_set if name in ProfileBody.model_fields}
    made = ProfileBody.model_construct(fields_set, **kept)
    if not body.owner:
        return made
    events = {event: rules.model_copy(update=_owned(rules, body.owner)) for event, rules in body.messages.items()}
    return made.model_copy(update={**_owned(body, body.owner), "messages": events})


def _owned(rules: RuleSet, owner: str) -> dict[str, Any]:
    def own(entry: _Entry) -> _Entry:
        return entry if entry.owner else entry.model_copy(update={"owner": owner})

    def own_segment(entry: SegmentRules) -> SegmentRules:
        return own(entry).model_copy(update={"fields": {key: own(field) for key, field in entry.fields.items()}})

    return {
        "fields": {place: own(entry) for place, entry in rules.fields.items()},
        "segments": {part: own_segment(entry) for part, entry in rules.segments.items()},
        "rules": tuple(own(entry) for entry in rules.rules),
    }


def merge_bodies(base: ProfileBody, over: ProfileBody) -> ProfileBody:
    """`over` with all that it takes over from `base`."""
    said = {key: getattr(over, key) for key in over.model_fields_set if key not in _OWN}
    return base.model_copy(
        update={
            **said,
            **_rules(base, over),
            "extends": None,
            "whose": over.whose,
            "messages": _merge(base.messages, over.messages, merge_rules),
            "switch_off": (*(name for name in base.switch_off if str(name) not in _said_again(over)), *over.switch_off),
            "standard": _merge_standard(base.standard, over.standard),
        }
    )


def _said_again(over: RuleSet) -> set[str]:
    """The ids of rules that a later file writes itself: they hold, whatever an earlier one switched off."""
    written = {f"rule.{rule.name.slug}" for rule in over.rules if rule.require is not None}
    for place, entry in over.fields.items():
        written |= {f"{place}.{'values' if key == 'table' else key}" for key in entry.model_fields_set}
    for part, segment in over.segments.items():
        written |= {f"{part}.{key}" for key in segment.model_fields_set}
        for number, entry in segment.fields.items():
            written |= {f"{part}-{number}.{'values' if key == 'table' else key}" for key in entry.model_fields_set}
    return written


def merge_rules(base: RuleSet, over: RuleSet) -> RuleSet:
    """The rules of both."""
    return base.model_copy(update=_rules(base, over))


def merge_place(base: PlaceRules, over: PlaceRules) -> PlaceRules:
    """One place's rules, key by key."""
    return base.model_copy(update=_said(over, PlaceRules.TOGETHER))


def _rules(base: RuleSet, over: RuleSet) -> dict[str, Any]:
    named = {rule.name.slug: rule for rule in base.rules}
    for rule in over.rules:
        known = named.get(rule.name.slug)
        named[rule.name.slug] = rule if known is None else known.model_copy(update=_said(rule, ()))
    return {
        "fields": _merge(base.fields, over.fields, merge_place),
        "segments": _merge(base.segments, over.segments, _merge_segment),
        "rules": tuple(named.values()),
    }


def _merge_segment(base: SegmentRules, over: SegmentRules) -> SegmentRules:
    fields = _merge(base.fields, over.fields, merge_place)
    return base.model_copy(update={**_said(over, SegmentRules.TOGETHER), "fields": fields})


def _said(entry: PlaceRules | SegmentRules | CrossRules, together: tuple[tuple[str, ...], ...]) -> dict[str, Any]:
    """What an entry writes, with None for what goes with it and is not written."""
    written = {key: getattr(entry, key) for key in entry.model_fields_set}
    gone = {key for group in together if any(key in written for key in group) for key in group}
    return {**dict.fromkeys(gone), **written}


def _merge_standard(base: StandardModes, over: StandardModes) -> StandardModes:
    default = over.default if "default" in over.model_fields_set else base.default
    return base.model_copy(update={"default": default, "exceptions": {**base.exceptions, **over.exceptions}})


_Value = TypeVar("_Value")


def _merge(base: Mapping[_Key, _Value], over: Mapping[_Key, _Value], merge: Any) -> dict[_Key, _Value]:
    """In the order of the earlier one, new keys behind; the earlier one's key stays with its place."""
    made: dict[_Key, _Value] = {}
    for key, value in base.items():
        made[key] = merge(value, over[key]) if key in over else value
    return made | {key: value for key, value in over.items() if key not in base}
