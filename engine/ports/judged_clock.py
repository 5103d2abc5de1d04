"""The wall clock, as far as a clock that cannot jump bears it out: what forgets by the date asks this one.

Invariants (reliability.md E3, ADR 0021):

- a reading is compared with the steady clock's count from a reading that was believed, the first of which is taken when
  this is made: there is no time after that in which a jump goes by unseen;
- small jumps add up until a day has gone by: it is their sum that is judged;
- what is believed is never ahead of the steady count, not even by a jump that is small enough to be let pass.
"""

from engine.ports.clock import Clock

JUMP_S = 86_400.0
BELIEVED_AGAIN_S = 86_400.0
"""A clock that jumped and then went on for so long without another jump is believed."""
COUNTED_ANEW_S = 86_400.0
"""So long the steady count goes on from one reading; then from the next, as no two clocks agree for ever."""


class JudgedClock:
    """`look` where time passes, `agrees` in between. `doubt`: why it is not believed, '' while it is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.doubt = ""
        self._believed_at = 0.0
        self._base = self._read()

    def look(self) -> int | None:
        """Microseconds since 1970 to go by, None while the clock is in doubt."""
        now_us, steady = self._read()
        counted_us = self._counted_us(steady)
        jump_s = (now_us - counted_us) / 1e6
        if abs(jump_s) > JUMP_S:
            self._doubt(jump_s, now_us, steady)
        elif self.doubt and steady >= self._believed_at:
            self.believe()
        elif not self.doubt and steady - self._base[1] >= COUNTED_ANEW_S:
            self._base = now_us, steady
        return None if self.doubt else min(now_us, counted_us)

    def agrees(self, read_us: int = 0) -> bool:
        """Whether a reading now would be believed, and is not before `read_us`, an earlier one that something goes by.

        By a clock that was set back since, be it by an hour, what came then is old. Changes nothing: for any thread.
        """
        now_us, steady = self._read()
        return not self.doubt and now_us >= read_us and abs(now_us - self._counted_us(steady)) <= JUMP_S * 1e6

    def compare(self, last_us: int) -> None:
        """With what is known from before this was made: not back, nor on by more than a day, since then."""
        now_us, steady = self._read()
        gone_s = (now_us - last_us) / 1e6
        if abs(gone_s) > JUMP_S:
            self._doubt(gone_s, now_us, steady)

    def believe(self) -> None:
        """The clock is right as it is now."""
        self._base = self._read()
        self.doubt = ""

    def _doubt(self, jump_s: float, now_us: int, steady: float) -> None:
        days = f"{abs(jump_s) / 86_400:.1f} days"
        self.doubt = f"the clock is {days} {'ahead of' if jump_s > 0 else 'behind'} where it was"
        self._believed_at = steady + BELIEVED_AGAIN_S
        self._base = now_us, steady

    def _counted_us(self, steady: float) -> int:
        base_us, base_steady = self._base
        return base_us + int((steady - base_steady) * 1e6)

    def _read(self) -> tuple[int, float]:
        return self._clock.now_us(), self._clock.monotonic()
