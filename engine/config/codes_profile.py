"""E170 to W171: profile files. E280 to W282: what a profile says of a message, and what drifted from it."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

PROFILE: Final[Stories] = MappingProxyType(
    {
        "E170": Story(
            "a name of a rule that is none",
            "Rules of the standard are named by their kind (length, table.0001), by a place (PID-8: all of them there) "
            "or by both (length PID-5). Rules of a profile are a place and a kind (PID-3.usage, PV1.cardinality) or "
            "the name of a rule between places (rule.inpatients-have-a-ward).",
            "Correct the name; for a rule of the profile itself, see that it is there or in what it extends.",
            "switch_off: [PID-3.usages]",
        ),
        "E171": Story(
            "a profile that extends itself",
            "Following extends from file to file comes back to a file that was passed already.",
            "Take out the extends that closes the circle; the finding shows the way around.",
            "extends: orders.yaml        # in orders.yaml",
        ),
        "W171": Story(
            "a profile that is never used",
            "The profiles of a file are asked from top to bottom, and the first that is 'for' the sender of a message "
            "is taken. One above this one takes all its messages.",
            "Move the narrower one up, or remove it.",
        ),
        "E172": Story(
            "fields of the standard described as those of a Z-segment",
            "Under segments, fields describe a segment that the standard does not have: its names and data types. "
            "Rules for a field of the standard stand under fields, by its place.",
            "Write it under fields: PV1-2.",
            "segments: {PV1: {fields: {2: {usage: R}}}}",
        ),
        "W172": Story(
            "a rule for a place that the standard does not have",
            "No version of HL7, or not the version that the profile names, has such a segment, field or component. "
            "The rule holds all the same, for messages that have it.",
            "Correct the place, if it is a slip of the finger; otherwise nothing.",
            "fields: {PID-93: {usage: R}}",
        ),
        "W173": Story(
            "a rule that asks nothing: HL7 has no such table, data type or version",
            "No version of HL7 has this table or data type, or has codes in this table (many are left to the site), so "
            "no value can be held against it. Of a version that is not known, the nearest below is taken.",
            "Correct the name. Codes of a site's own stand under values, as a list or a CSV file.",
            'fields: {PID-8: {table: "9876"}}',
        ),
        "E280": Story(
            "a message breaks a rule of the profile or the standard: rejected",
            "The rule's mode is reject. The sender was answered AE (or CE) with one ERR for each such finding, and "
            "keeps the message. The finding names the place and the rule.",
            "Show the sender's people the finding. If the rule asks too much, give it mode: warn or observe.",
        ),
        "W280": Story(
            "a message breaks a rule of the profile or the standard: a warning",
            "The rule's mode is warn: the message went on, and the finding is stored with it. "
            "segmill_validation_findings_total counts it by rule.",
            "Nothing at once; see which rules are broken often, and have the sender mend what matters.",
        ),
        "I280": Story(
            "a message breaks a rule of the profile or the standard: only observed",
            "The rule's mode is observe: nothing comes of it but a count in segmill_validation_findings_total and this "
            "finding. So one sees what a rule would do before it does.",
            "When the count is what it should be, make it warn or reject.",
        ),
        "W281": Story(
            "too many findings in one message",
            "A message broke rules in more places than are kept with one message. The first ones are there, and those "
            "that reject before all others.",
            "Mend the first ones; the rest are mostly the same rule in other segments.",
        ),
        "W282": Story(
            "a sender's messages drifted from the learned profile",
            "A place that was nearly always filled when the profile was learned is now mostly empty, or the other way "
            "round, in the newest messages of this sender. Often a new version of the sender's software is the cause, "
            "and a mapping further down goes wrong without a word.",
            "Ask the sender's people what they changed. If it is to stay, learn anew: segmill profile learn.",
        ),
        "I282": Story(
            "a sender's messages are again as the profile was learned",
            "What W282 told of has ended: of the newest messages of this sender a tenth or less differ.",
            "Nothing.",
        ),
    }
)
