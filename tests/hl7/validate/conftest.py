"""Messages for the validator's tests, one line a segment."""

from collections.abc import Callable

import pytest

from engine.hl7.message import Message
from engine.hl7.profile import NO_PROFILE, Profile
from engine.hl7.validate import Validation, Validator

ADT = (
    "MSH|^~\\&|HIS|MAIN|RIS|RAD|20260301101500||ADT^A01^ADT_A01|M1|P|2.5",
    "EVN|A01|20260301101500",
    "PID|1||4711^^^MAIN^MR||Example^Erika||19700102|F",
    "PV1|1|I",
)
ORU = (
    "MSH|^~\\&|LIS|LAB|EPR|MAIN|20260301101500||ORU^R01^ORU_R01|M2|P|2.5",
    "PID|1||4711^^^MAIN^MR||Example^Erika",
    "OBR|1|||24323-8^Panel^LN",
    "OBX|1|NM|718-7^Hemoglobin^LN||13.5|g/dL|||||F",
)


def parsed(*lines: str) -> Message:
    return Message.parse("\r".join((*lines, "")).encode())


def found(validation: Validation) -> list[tuple[str, str]]:
    return [(violation.location, violation.rule) for violation in validation.violations]


Check = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def check() -> Check:
    """Locations and rules of what is wrong with a message of these lines."""

    def check(*lines: str, profile: Profile = NO_PROFILE) -> list[tuple[str, str]]:
        return found(Validator(profile).validate(parsed(*lines)))

    return check
