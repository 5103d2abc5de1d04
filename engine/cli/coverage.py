"""What `segmill test --coverage` says: how much the cases reach, and what no case reaches."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from engine.cli.output import emit, printable, styled

if TYPE_CHECKING:
    from engine.pipeline.coverage import Covered, Tally

NAMES: Final = {"steps": "steps", "conditions": "conditions both ways", "routes": "routes", "rows": "table rows"}


@dataclass(slots=True, frozen=True)
class Asked:
    """Whether coverage is told, and the least percentages that are good enough."""

    is_on: bool
    least: float | None
    least_rows: float | None

    def short(self, covered: "Covered") -> list[str]:
        """In which way too little was reached."""
        told = []
        if self.least is not None and covered.rules.percent < self.least:
            told.append(f"{percent(covered.rules)} of steps, conditions and routes, {self.least:g}% are asked for")
        rows = covered.tallies["rows"]
        if self.least_rows is not None and rows.percent < self.least_rows:
            told.append(f"{percent(rows)} of table rows, {self.least_rows:g}% are asked for")
        return told


def tell_coverage(channel: str, covered: "Covered", asked: Asked, *, as_json: bool) -> bool:
    """Print it; whether too little was reached."""
    short = asked.short(covered)
    if as_json:
        emit(
            {
                "channel": channel,
                "coverage": {
                    kind: {"reached": tally.reached, "of": tally.of, "percent": round(tally.percent, 1)}
                    for kind, tally in covered.tallies.items()
                },
                "percent": round(covered.rules.percent, 1),
                "gaps": [asdict(gap) for gap in covered.gaps],
                "enough": not short,
            }
        )
        return bool(short)
    told = [f"{NAMES[kind]} {tally.reached:,} of {tally.of:,}" for kind, tally in covered.tallies.items() if tally.of]
    click.echo(
        f"  {styled(percent(covered.rules), bold=True)} reached: {', '.join(told) or 'there is nothing to reach'}"
    )
    before = ""
    for gap in covered.gaps:
        if gap.place != before:
            click.echo(f"    {styled(printable(gap.place), fg='yellow')}")
            before = gap.place
        click.echo(f"      {printable(gap.text)}")
    for sentence in short:
        click.echo(f"  {styled('too little', fg='red')}  {sentence}")
    return bool(short)


def percent(tally: "Tally") -> str:
    """Rounded down: 100% is everything."""
    return f"{int(tally.percent)}%"
