"""Finding steps, sinks and sources by entry point (`engine.steps`, `engine.sinks`, `engine.sources`).

The built-in ones come by the same door.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Final, cast

from engine.config.kinds import Kinds, SinkKind, SourceKind
from engine.config.listen import ListenOptions
from engine.pipeline.step import StepKind

BUILT_IN: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "engine.steps": {
            "filter": "engine.pipeline.steps.filter:FilterStep",
            "set": "engine.pipeline.steps.set:SetStep",
            "copy": "engine.pipeline.steps.copy:CopyStep",
            "delete": "engine.pipeline.steps.delete:DeleteStep",
            "map": "engine.pipeline.steps.map:MapStep",
            "convert": "engine.pipeline.steps.convert:ConvertStep",
            "each": "engine.pipeline.steps.each:EachStep",
            "validate": "engine.pipeline.steps.validate:ValidateStep",
            "python": "engine.pipeline.steps.python:PythonStep",
        },
        "engine.sinks": {
            "mllp": "engine.adapters.sinks.mllp:MllpSink",
            "file": "engine.adapters.sinks.file:FileSink",
            "http": "engine.adapters.sinks.http:HttpSink",
            "database": "engine.adapters.sinks.database:DatabaseSink",
            "email": "engine.adapters.sinks.email:EmailSink",
            "worklist": "engine.adapters.sinks.worklist:WorklistSink",
        },
        "engine.sources": {
            "mllp": "engine.config.listen:MLLP",
            "file": "engine.adapters.sources.file:FileSource",
            "http": "engine.adapters.sources.http:HttpSource",
        },
    }
)
"""The entry points of this distribution, as pyproject.toml has them: what there is in a clone that nobody installed."""


class RegistryError(Exception):
    """An installed step, sink or source that cannot be used; the text names it and its distribution."""


def load_steps() -> dict[str, StepKind]:
    """All steps there are, by name. Raises RegistryError."""
    return {name: cast(StepKind, kind) for name, kind in _load("engine.steps").items()}


def load_kinds() -> Kinds:
    """All steps, sinks and sources there are. Raises RegistryError."""
    sinks = {name: cast(SinkKind, kind) for name, kind in _load("engine.sinks").items()}
    return Kinds(steps=load_steps(), sinks=sinks, sources=load_sources())


def load_sources() -> dict[str, SourceKind]:
    """All sources there are, by name. Raises RegistryError."""
    sources = {name: cast(SourceKind, kind) for name, kind in _load("engine.sources").items()}
    for name, kind in sources.items():
        if not issubclass(kind.model, ListenOptions):
            raise RegistryError(f"the model of source '{name}' is no ListenOptions (engine.config.listen)")
    return sources


def _load(group: str) -> dict[str, object]:
    found = {name: EntryPoint(name, value, group) for name, value in BUILT_IN[group].items()}
    for point in entry_points(group=group):
        if point.name in found and found[point.name].value != point.value:
            raise RegistryError(f"two installed packages define '{point.name}' in {group}: {_origin(point)} is one")
        found[point.name] = point
    return {name: _make(point) for name, point in sorted(found.items())}


def _make(point: EntryPoint) -> object:
    try:
        kind: Any = point.load()
    except (ImportError, AttributeError) as error:
        raise RegistryError(f"'{point.name}' of {_origin(point)} cannot be loaded: {error}") from error
    # A step's class is made once and then compiles; a sink's class is the kind itself: `open` makes each one.
    made = kind() if isinstance(kind, type) and point.group == "engine.steps" else kind
    if getattr(made, "name", None) != point.name or not hasattr(made, "model"):
        raise RegistryError(f"'{point.name}' of {_origin(point)} is no kind: it needs that name, and a model")
    return cast(object, made)


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
