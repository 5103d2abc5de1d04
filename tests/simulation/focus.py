"""Histories that are narrowed to what a rare fault needs, so that some hundred of them find it.

Of all histories one in thousands comes to these. What is not named here is drawn as ever.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random

from tests.simulation.sites import FOLDERS, FULL, SITES, Site, names, site
from tests.simulation.swarm import Swarm, draw_moods

Focus = Callable[[Swarm, int], None]
"""Narrows what was drawn for a seed to what a rare thing needs, and leaves the rest as it is."""


def on_answers_of_two(swarm: Swarm, seed: int) -> None:
    """Files that wait for one destination, and others that wait for another."""
    swarm.site, swarm.editions = _pick(_with_two_answers(), seed)
    swarm.reloads = max(swarm.reloads, 4)
    swarm.crashes = swarm.crashes[:1]
    _draw_moods(swarm, seed)


def on_keys_that_wait(swarm: Swarm, seed: int) -> None:
    """Destinations with keys, receivers that refuse now and then, and a wall clock that jumps by years."""
    swarm.site, swarm.editions = _pick(_with_keys(), seed)
    swarm.jumps = "big"
    swarm.in_memory = 3
    _draw_moods(swarm, seed)


def on_releases(swarm: Swarm, seed: int) -> None:
    """What is set aside, released, and cut short."""
    swarm.actions = ["hold", "release"]
    swarm.controls = max(swarm.controls, 15)
    swarm.crashes = swarm.crashes or [200 + seed % 800]


def on_those_that_leave(swarm: Swarm, seed: int) -> None:
    """Destinations that the files no longer have, and people who queue something there."""
    swarm.site, swarm.editions = _pick(_with_removals(), seed)
    swarm.reloads = max(swarm.reloads, 4)
    swarm.actions = ["hold", "release", "redirect", "resend"]
    swarm.controls = max(swarm.controls, 15)
    swarm.crashes = []
    _draw_moods(swarm, seed)


def on_rereads(swarm: Swarm, seed: int) -> None:
    """People who change a queue again and again while it is sent from."""
    swarm.actions = ["resend", "hold", "release", "retry"]
    swarm.controls = max(swarm.controls, 40)
    swarm.in_memory = 1000
    swarm.crashes = []


def on_answers_when_stored(swarm: Swarm, seed: int) -> None:
    """Files that answer when a message is stored, and others that answer when it is processed."""
    swarm.site, swarm.editions = _pick(_with_both_ways(), seed)
    swarm.reloads = max(swarm.reloads, 8)
    swarm.crashes = swarm.crashes[:1]
    _draw_moods(swarm, seed)


def on_answers_given_up(swarm: Swarm, seed: int) -> None:
    """Files that wait for a destination's answer, and others that wait for none."""
    swarm.site, swarm.editions = _pick(_with_answers_given_up(), seed)
    swarm.reloads = max(swarm.reloads, 8)
    swarm.crashes = swarm.crashes[:1]
    _draw_moods(swarm, seed)


def on_answers_changed_back(swarm: Swarm, seed: int) -> None:
    """As `on_answers_given_up`, with destinations that are away at times, and senders that hear what they are told."""
    on_answers_given_up(swarm, seed)
    for habits in swarm.habits:
        habits.answer_us, habits.depth, habits.hangs_up = 1_000_000, 4, 0.0
    swarm.downs, swarm.reloads, swarm.crashes = 8, 12, []


def on_answers_unamended(swarm: Swarm, seed: int) -> None:
    """As `on_answers_given_up`, with a store that has no room for the answers that are due then."""
    on_answers_given_up(swarm, seed)
    swarm.faults.unamended = 0.9


def on_batches(swarm: Swarm, seed: int) -> None:
    """Destinations that take several at a time and take some of them, and engines that are killed."""
    swarm.site, swarm.editions = _pick(_with_batches(), seed)
    swarm.crashes = swarm.crashes or [300 + seed % 700]
    _draw_moods(swarm, seed)


def on_hours(swarm: Swarm, seed: int) -> None:
    """Destinations that are closed at times, and a wall clock that jumps by years."""
    swarm.site, swarm.editions = _pick(_with_hours(), seed)
    swarm.jumps = "big"
    _draw_moods(swarm, seed)


def on_blocks_of_several(swarm: Swarm, seed: int) -> None:
    """Senders that put several messages into a block, with more behind it, and repeat some; a disk that is full at
    times."""
    for at, habits in enumerate(swarm.habits):
        habits.blocks = f"blocks {seed} {at}"
        habits.several, habits.headed = 0.7, 0.5
        habits.depth, habits.again = 16, 0.5
    swarm.faults.full = swarm.faults.full or 0.15


def on_fragments(swarm: Swarm, seed: int) -> None:
    """Messages in fragments among others, with engines that are killed, other files that join as well, and people.

    Where the rest of a message is given up, people leave alone what is not all of one.
    """
    swarm.site, swarm.editions = _pick(_that_join(), seed)
    swarm.fragments = (0.3, 0.8)[seed % 2]
    if site(swarm.site).gives_up:
        for at, habits in enumerate(swarm.habits):
            habits.late, habits.lates = 0.2, f"late {seed} {at}"
        swarm.actions = ["hold", "skip", "redirect", "pause", "resume", "retry"]
    swarm.prunes = False
    swarm.jumps = ""
    _draw_moods(swarm, seed)


def on_folders(swarm: Swarm, seed: int) -> None:
    """Messages that come in files, with engines that are killed and stopped."""
    number = SITES + seed % FOLDERS
    swarm.site, swarm.editions = number, [1 + seed % FULL, FULL]
    swarm.crashes = swarm.crashes or [400 + seed * 7 % 900]
    _draw_moods(swarm, seed)


def on_fragments_given_up(swarm: Swarm, seed: int) -> None:
    """As `on_fragments`, at sites that give up soon."""
    swarm.reloads = max(swarm.reloads, 2)
    for shift in range(SITES):
        on_fragments(swarm, seed + shift)
        if site(swarm.site).gives_up:
            return


def _pick(fit: Sequence[tuple[int, list[int]]], seed: int) -> tuple[int, list[int]]:
    return fit[seed % len(fit)]


def _draw_moods(swarm: Swarm, seed: int) -> None:
    """Receivers are drawn by name, and this site's may have others."""
    rng = Random(f"moods {seed}")
    swarm.moods = {name: draw_moods(rng) for name in names(swarm.site)}


@cache
def _with_two_answers() -> Sequence[tuple[int, list[int]]]:
    return [
        (number, others)
        for number in range(SITES)
        if (first := site(number).waits_for)
        and (others := [one for one in range(1, FULL) if site(number, one).waits_for not in ("", first)])
    ]


@cache
def _with_keys() -> Sequence[tuple[int, list[int]]]:
    return [
        (number, [1])
        for number in range(SITES)
        if all(target.lanes for target in site(number).targets.values() if target.port)
        and any(target.lanes for target in site(number).targets.values())
    ]


@cache
def _that_join() -> Sequence[tuple[int, list[int]]]:
    found = []
    for number in range(SITES):
        if site(number).joins:
            others = [one for one in range(1, FULL + 1) if _joins_at_once(site(number, one))]
            found.append((number, others or [0]))
    return found


def _joins_at_once(edition: Site) -> bool:
    return edition.joins and not edition.when_stored


@cache
def _with_hours() -> Sequence[tuple[int, list[int]]]:
    return [(number, [1]) for number in range(SITES) if all(target.opens for target in site(number).targets.values())]


@cache
def _with_both_ways() -> Sequence[tuple[int, list[int]]]:
    found = []
    for number in range(SITES):
        first = site(number).when_stored
        if others := [one for one in range(1, FULL) if site(number, one).when_stored != first]:
            found.append((number, others))
    return found


@cache
def _with_answers_given_up() -> Sequence[tuple[int, list[int]]]:
    found = []
    for number in range(SITES):
        if site(number).waits_for and (others := [one for one in range(1, FULL) if not site(number, one).waits_for]):
            found.append((number, others))
    return found


@cache
def _with_batches() -> Sequence[tuple[int, list[int]]]:
    return [(number, [1]) for number in range(SITES) if any(one.at_once > 1 for one in site(number).targets.values())]


@cache
def _with_removals() -> Sequence[tuple[int, list[int]]]:
    found = []
    for number in range(SITES):
        first = set(site(number).targets)
        if others := [one for one in range(1, FULL) if first - set(site(number, one).targets)]:
            found.append((number, others))
    return found


FOCUS: Mapping[str, Focus] = {
    "another destination's word is taken for the one that is waited for": on_answers_of_two,
    "a key's retry waits by the wall clock": on_keys_that_wait,
    "what a release overtakes is not marked": on_releases,
    "a lane that leaves hears of nothing new": on_those_that_leave,
    "reread takes up what is in hand": on_rereads,
    "a resend of what waited by other files is not answered": on_answers_given_up,
    "a time-out's no is the answer for ever, whatever the files say": on_answers_given_up,
    "what a destination took while other files were in force is not told": on_answers_changed_back,
    "a resend is told a yes that is not on record": on_answers_unamended,
    "what was answered when stored is overtaken after a reload": on_answers_when_stored,
    "tries behind a failed one are not recorded": on_batches,
    "what waits for a removed destination is left behind": on_those_that_leave,
    "what was worked out of the hours is believed after the clock is set": on_hours,
    "who could not be stored is left out of a batch's answer": on_blocks_of_several,
    "what the run before had of a message in fragments is not taken up": on_fragments,
    "a fragment is acknowledged before it is stored": on_fragments,
    "the last fragment is acknowledged before its message is stored": on_fragments,
    "fragments and their message are stored apart": on_fragments,
    "what came behind a message in fragments overtakes it": on_fragments,
    "what waits for the rest of its message is never given up": on_fragments_given_up,
    "what was given up does not begin anew": on_fragments_given_up,
    "a file is put away before its messages are stored": on_folders,
    "what an engine that was killed had taken out of the folder is forgotten": on_folders,
    "a file is taken while it is being written": on_folders,
    "a file is done whatever is refused of it": on_folders,
    "a reload forgets what waits for the rest of its message": on_fragments,
    "the answers of a batch stand in the order they were made": on_blocks_of_several,
}
"""By the name of the mutant."""
