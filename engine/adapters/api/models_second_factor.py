"""What is asked and answered about one-time codes."""

from typing import Annotated

from pydantic import Field, StringConstraints

from engine.adapters.api.entries import ApiModel

Password = Annotated[str, StringConstraints(max_length=256)]
Code = Annotated[str, StringConstraints(max_length=40)]


class SecondFactorShown(ApiModel):
    on: bool = Field(description="Whether a one-time code is asked for at sign-in")
    recovery_left: int = Field(description="How many recovery codes are left")


class OnePassword(ApiModel):
    password: Password


class SecondFactorBegun(ApiModel):
    """Shown this once: for an authenticator app, as text or as a picture of `uri`."""

    secret: str
    uri: str
    until: str


class OneCode(ApiModel):
    code: Code


class RecoveryCodes(ApiModel):
    """Shown this once: each is good once in the place of a one-time code."""

    codes: list[str]


class DropSecondFactor(ApiModel):
    password: Password
    code: Code
