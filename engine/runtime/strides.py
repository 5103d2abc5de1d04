"""How much one slice of background work takes on, so that a commit that waits for it waits a millisecond or so."""

BUDGET_S = 0.001
"""So long a slice may take while the disk is quick: about as long as a commit. On a slow disk, twice a commit."""


class Stride:
    """Learns from what slices took. `amount`: what the next one is to take on, from `least` to `most`."""

    __slots__ = ("_least", "_most", "amount")

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self.amount = least

    def learn(self, took_s: float, budget_s: float) -> None:
        """Half of it after one that took too long; twice as much where even that fits, and a quarter more near it."""
        if took_s > budget_s:
            self.amount = max(self._least, self.amount // 2)
        elif took_s < budget_s / 3:
            self.amount = min(self._most, self.amount * 2)
        elif took_s < budget_s * 0.7:
            self.amount = min(self._most, self.amount + self.amount // 4)
