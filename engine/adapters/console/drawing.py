"""Small pictures drawn on the server, of numbers alone."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

WIDTH, HEIGHT = 120, 24
MINUTES: Final = 60


def sparkline(minutes: Sequence[int]) -> Markup:
    """Messages a minute over the last hour, the newest at the right; said in words for those who cannot see it."""
    total, most = sum(minutes), max(minutes, default=0)
    label = f"{total} in the last hour, at most {most} a minute"
    step = WIDTH / MINUTES
    first = MINUTES - len(minutes)
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            (first + at) * step, HEIGHT - _height(number, most), step - 0.4, _height(number, most)
        )
        for at, number in enumerate(minutes)
        if number
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{label}">'
        '<title>{label}</title><path d="M0 {base}H{w}"/>{bars}</svg>'
    ).format(w=WIDTH, h=HEIGHT, base=HEIGHT - 0.5, label=label, bars=bars)


def _height(number: int, most: int) -> float:
    """Of a bar; the smallest number still shows."""
    return max(1.5, (HEIGHT - 2) * number / most)
