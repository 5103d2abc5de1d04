"""A short cut may only save time: without them every verdict is the same; and no sample ever raises."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings

from engine.hl7.dictionary import VERSIONS
from engine.hl7.errors import UnreadableMessage
from engine.hl7.message import Message
from engine.hl7.profile import NO_PROFILE, Profile
from engine.hl7.validate import Validator, fields
from tests.hl7.validate.messages import messages

CORPUS = Path(os.environ.get("SEGMILL_CORPUS", ""))


class Slowly:
    """Validators without short cuts: what `quick_test` would give is never asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def validate(self, validator: Validator, message: Message):
        with self._monkeypatch.context() as patch:
            patch.setattr(fields, "quick_test", lambda *_: None)
            return validator.validate(message)


QUICK, SLOW = Validator(), Validator()


@settings(max_examples=300, deadline=None)
@given(messages())
def test_short_cuts_do_not_change_what_is_found(raw: bytes) -> None:
    message = Message.parse(raw)
    with pytest.MonkeyPatch.context() as patch:
        slow = Slowly(patch).validate(SLOW, message)
    assert QUICK.validate(message) == slow


@pytest.mark.skipif(
    not os.environ.get("SEGMILL_CORPUS") or not CORPUS.is_dir(), reason="SEGMILL_CORPUS names no folder of samples"
)
@pytest.mark.parametrize("version", VERSIONS)
def test_samples_of_all_kinds_with_and_without_short_cuts(version: str) -> None:
    read = 0
    quick, slow = (Validator(Profile("x", version=version, standard=NO_PROFILE.standard)) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        slowly = Slowly(patch)
        for path in sorted(CORPUS.glob("*.hl7")):
            try:
                message = Message.parse(path.read_bytes())
            except UnreadableMessage:
                continue
            read += 1
            is_large = len(message.raw) > 50_000
            if is_large and version not in VERSIONS[::6]:
                continue
            result = quick.validate(message)
            assert result == slowly.validate(slow, message), path.name
            assert all(0 <= v.start <= v.end <= len(message.raw) for v in result.violations)
    assert read > 200
