"""What a history is made of, drawn from its seed. Each leaves most faults out altogether (swarm testing)."""

from dataclasses import dataclass
from random import Random

from tests.simulation.disk import Faults
from tests.simulation.network import Weather
from tests.simulation.peers import GROUP_WAYS, WAYS, Habits, Mood
from tests.simulation.sites import FULL, SITES, names

ACTIONS = (
    "release", "resend", "reprocess", "discard", "retry", "hold", "skip", "redirect", "pause", "resume",
)  # fmt: skip


@dataclass(slots=True)
class Swarm:
    """What a history is made of."""

    senders: int
    messages: int
    site: int
    crashes: list[int]
    """Steps of the engine's process until it is killed, one for each run."""
    stops: int
    controls: int
    actions: list[str]
    """What people do in it."""
    downs: int
    faults: Faults
    weather: Weather
    moods: dict[str, tuple[Mood, Mood]]
    """Of each destination, as a receiver over MLLP and as one that takes several at a time."""
    habits: list[Habits]
    most_tick_us: int
    in_memory: int
    """How many deliveries and stored messages the engine keeps in memory; the rest it reads from the store."""
    prunes: bool
    reloads: int
    editions: list[int]
    """What people turn to in it."""
    killed_in_reload: float
    jumps: str
    """How far the wall clock jumps, as the model calls it."""
    fragments: float = 0.0
    """That a message comes in fragments."""


def draw_blocks(swarm: Swarm, seed: int) -> None:
    """Which senders put several messages into a block: drawn apart, so that all else is as without."""
    rng = Random(f"blocks {seed}")
    if rng.random() < 0.3:
        for at, habits in enumerate(swarm.habits):
            habits.blocks = f"blocks {seed} {at}"
            habits.several = rng.choice((0.0, 0.2, 0.7))
            habits.headed = rng.choice((0.0, 0.5, 1.0))


def draw_unamended(swarm: Swarm, seed: int) -> None:
    """Stores that take messages and no other answers than they have: drawn apart, as blocks are."""
    rng = Random(f"unamended {seed}")
    if rng.random() < 0.15:
        swarm.faults.unamended = rng.choice((0.5, 0.9, 1.0))


def draw_moods(rng: Random) -> tuple[Mood, Mood]:
    """How a destination behaves, as a receiver over MLLP and as one that takes several at a time."""
    is_good, share = rng.random() < 0.25, rng.choice((0.2, 1.0))
    delay_us = rng.choice((500, 5000, 60_000))
    both = []
    for ways in (WAYS, GROUP_WAYS):
        weights = {"yes": 1.0}
        if not is_good:
            weights |= {way: rng.random() * share for way in rng.sample(ways, rng.choice((1, 1, 2, 3)))}
        both.append(Mood(weights, delay_us))
    return both[0], both[1]


def draw_swarm(rng: Random) -> Swarm:
    """The parameters of one history."""

    def maybe(chance: float, most: float) -> float:
        return rng.random() * most if rng.random() < chance else 0.0

    number = rng.randrange(SITES)
    senders = rng.choice((1, 1, 2, 2, 3, 5))
    faults = Faults(
        commit_us=rng.choice((300, 800, 3000, 12_000)),
        stall=maybe(0.3, 0.2),
        full=maybe(0.25, 0.2),
        busy=maybe(0.2, 0.15),
        unknown=maybe(0.2, 0.06),
        killed=maybe(0.3, 0.1),
    )
    weather = Weather(
        latency_us=rng.choice((100, 400, 3000)),
        cuts=maybe(0.5, 0.5),
        window=rng.choice((65_536, 65_536, 150)),
        resets=rng.random(),
    )
    moods = {name: draw_moods(rng) for name in names(number)}
    habits = [
        Habits(
            depth=rng.choice((1, 1, 2, 4, 16)),
            answer_us=rng.choice((300_000, 1_000_000)),
            pause_us=rng.choice((2000, 30_000, 300_000)),
            cuts=maybe(0.4, 0.5),
            halves=maybe(0.25, 0.2),
            again=maybe(0.5, 0.6),
            at_the_edge=maybe(0.6, 1.0),
            hangs_up=maybe(0.3, 0.4),
        )
        for _ in range(senders)
    ]
    crashes = [int(rng.random() ** 2 * 3000) for _ in range(rng.choice((0, 0, 1, 1, 2, 4)))]
    return Swarm(
        senders,
        rng.choice((4, 10, 20, 40)),
        number,
        crashes,
        rng.choice((0, 0, 0, 1, 2)),
        rng.choice((0, 0, 2, 6, 15)),
        rng.sample(ACTIONS, rng.choice((1, 2, 4, len(ACTIONS)))),
        rng.choice((0, 0, 1, 3)),
        faults,
        weather,
        moods,
        habits,
        rng.choice((8, 20, 100)),
        rng.choice((1000, 1000, 3, 8)),
        rng.random() < 0.25,
        rng.choice((0, 0, 1, 2, 4, 8)),
        rng.sample(range(1, FULL + 1), rng.choice((1, 1, 2, 3))),
        maybe(0.4, 0.6),
        rng.choice(("", "", "", "small", "big")),
    )
