"""Validation against the standard and a site's profile: every finding of a message in one pass.

    validator = Validator(profile)
    for violation in validator.validate(message).violations:
        print(violation.location, violation.rule, violation.text)

The standard comes from `engine.hl7.dictionary`, the profile from `engine.hl7.profile`. Which rules there are, and what
they weigh, is in `engine.hl7.validate.rules`; `engine/docs/validation.md` says it for people.
"""

from engine.hl7.validate.rules import STANDARD_RULES, Severity, StandardRule
from engine.hl7.validate.validator import DEFAULT_LIMIT, Validation, Validator, Violation

__all__ = [
    "DEFAULT_LIMIT",
    "STANDARD_RULES",
    "Severity",
    "StandardRule",
    "Validation",
    "Validator",
    "Violation",
]
