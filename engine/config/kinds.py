"""What the configuration needs to know of steps, sources and sinks: their names and the models of their options.

How a step is read: every entry under `steps:` is one mapping, and the one key in it that names a kind
decides. The kind's model is then validated against *the whole mapping* as it is written, without what
every step may have (`when`, `name`), unless the model has a field of that name itself::

    - filter: PV1-2 == "I"            class FilterOptions(ConfigModel):
                                          condition: ConditionText = Field(alias="filter")

    - set: {MSH-5: RIS}               class SetOptions(ConfigModel):
                                          values: dict[PathText, ValueText] = Field(alias="set")

    - each: OBX                       class EachOptions(ConfigModel):
      when: OBX-2 == "ED"                 segment: SegmentText = Field(alias="each")
      do: [...]                           when: ConditionText | None = None
                                          do: list[StepEntry]

How a sink is read: the model is validated against what stands under the sink's key in a destination.
A sink that cannot carry messages in every form (HL7, JSON, XML) has a method `forms(options)` that gives those it can.
One that cannot be opened several times for one destination (`lanes`) has `several_connections = False`, and one for
which each end must be on record before the next is tried (`window`) has `each_on_record = True`. One
that gets no HL7 has `own_bodies = True`. One that reads the
engine's store has `needs_store = True`, and is given its queries as `store`,
and as `turns` locks by name, for lanes that write to one place in it.
How a sink is read: the model is validated against what stands under the sink's key in a destination. A source
likewise, with what stands under its key in `listen`; its model is a `ListenOptions`.
A model is a `ConfigModel`; the types of `engine.config.types` make each value known to the linter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.config.base import ConfigModel
from engine.hl7.convert import FORMS, Form


class StepKind(Protocol):
    """A step as the configuration sees it. `engine.pipeline.step` adds what it does."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> type[ConfigModel]: ...


class SinkKind(Protocol):
    """A sink as the configuration sees it."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> type[ConfigModel]: ...


class SourceKind(Protocol):
    """A source as the configuration sees it. `engine.ports.source` adds what it does."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> type[ConfigModel]: ...


def _own_sources() -> Mapping[str, SourceKind]:
    from engine.config.listen import MLLP  # its models are read with the kinds, so they come first

    return {MLLP.name: MLLP}


def forms_of(kind: SinkKind, options: ConfigModel) -> Sequence[Form]:
    """The forms that a sink with these options can carry."""
    forms = getattr(kind, "forms", None)
    return FORMS if forms is None else forms(options)


def takes_lanes(kind: SinkKind) -> bool:
    """Whether a destination of this kind may have several connections."""
    return bool(getattr(kind, "several_connections", True))


def takes_windows(kind: SinkKind) -> bool:
    """Whether more than one end may be unrecorded at a time."""
    return not getattr(kind, "each_on_record", False)


def writes_itself(kind: SinkKind) -> bool:
    """Whether what it gets is made for it, and is no HL7 that a character set could be chosen for."""
    return bool(getattr(kind, "own_bodies", False))


@dataclass(slots=True, frozen=True)
class Kinds:
    """All steps, sinks and sources that channel files may name. MLLP is a source everywhere."""

    steps: Mapping[str, StepKind] = field(default_factory=dict)
    sinks: Mapping[str, SinkKind] = field(default_factory=dict)
    sources: Mapping[str, SourceKind] = field(default_factory=_own_sources)
