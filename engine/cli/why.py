"""Why a message goes to a destination, or does not: one sentence from its trace, with the values that decided."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from engine.cli.output import printable

if TYPE_CHECKING:
    from engine.pipeline.trace import StepTrace, Tested, Trace
    from engine.pipeline.trial import Trial

Told = Callable[["Tested"], str]


def why(trial: "Trial", destination: str, told: Told) -> Iterator[str]:
    """The sentence, and what it rests on. `told` writes a condition with what stood in the message."""
    name = printable(destination)
    trace = trial.trace
    if trial.state == "waiting":
        yield f"not yet to {name}: it is a part of a message, and the others have not come"
        return
    if trace is None:
        yield f"not to {name}: it never came to the channel's steps"
        yield from (f"  {finding.code} {printable(finding.text)}" for finding in trial.findings)
        return
    goes = destination in {delivery.destination for delivery in trace.result.deliveries}
    ways = [route for route in trace.routes if route.destination == destination]
    ended = next((step for step in trace.steps if step.outcome in ("filtered", "held", "rejected")), None)
    if goes:
        yield f"to {name}: " + ("its route has no condition" if _is_open(trace, destination) else "its route takes it")
        yield from (f"  {told(route.condition)}" for route in ways if route.condition is not None and route.taken)
    elif ended is not None:
        yield f"not to {name}: step {printable(ended.label)} {_ENDED[ended.outcome]}"
        yield from _of_step(ended, told)
    elif any(route.taken for route in ways):
        yield f"not to {name}: its route takes it, and then it is {trial.state}"
        yield from (f"  {finding.code} {printable(finding.text)}" for finding in trial.findings)
    else:
        yield f"not to {name}: its route does not take it" if ways else f"not to {name}: no route leads there"
        yield from (f"  {told(route.condition)}" for route in ways if route.condition is not None)


_ENDED = {"filtered": "filters it", "held": "holds it", "rejected": "rejects it"}


def _is_open(trace: "Trace", destination: str) -> bool:
    return any(route.destination == destination and route.condition is None for route in trace.routes)


def _of_step(step: "StepTrace", told: Told) -> Iterator[str]:
    for condition in step.conditions:
        yield f"  {told(condition)}"
    for lookup in step.lookups:
        if lookup.row is None:
            yield f'  {lookup.table}: no row for {lookup.path} = "{printable(lookup.key)}"'
    for finding in step.findings:
        place = f"{finding.location}: " if finding.location else ""
        yield f"  {finding.code} {printable(place + finding.text)}"
