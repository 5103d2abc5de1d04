"""Every text with a meaning in a checked model, and the segment in focus where it stands."""

from collections.abc import Iterator

from engine.config.base import ConfigModel
from engine.config.entries import Destination, StepEntry
from engine.config.types import MarkedText, SegmentText

Found = tuple[MarkedText, str | None]


def marked_texts(value: object, focus: str | None = None) -> Iterator[Found]:
    """Marked texts in a model, in containers, in steps and what is nested in them, with their focus.

    A step whose own argument is a SegmentText has that segment in focus for everything else in it.
    """
    if isinstance(value, MarkedText):
        yield value, focus
    elif isinstance(value, StepEntry):
        yield from _step(value, focus)
    elif isinstance(value, Destination):
        yield from marked_texts(value.options, focus)
    elif isinstance(value, ConfigModel):
        for _, item in value:
            yield from marked_texts(item, focus)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from marked_texts(key, focus)
            yield from marked_texts(item, focus)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from marked_texts(item, focus)


def _step(step: StepEntry, focus: str | None) -> Iterator[Found]:
    if step.when is not None:
        yield step.when, focus
    segment = next((item for _, item in step.options if isinstance(item, SegmentText)), None)
    yield from marked_texts(step.options, str(segment) if segment is not None else focus)


def steps_of(value: object) -> Iterator[StepEntry]:
    """All steps in a model, each before those that are nested in it."""
    if isinstance(value, StepEntry):
        yield value
        yield from steps_of(value.options)
    elif isinstance(value, ConfigModel):
        for _, item in value:
            yield from steps_of(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from steps_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from steps_of(item)
