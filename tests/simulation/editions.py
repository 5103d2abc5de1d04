"""Which of a site's files the engine works by, as far as those outside of it can know.

From when it has read other files until it has said what came of that, it may work by the old ones and by the new ones,
but a message by one of them; before that and after it, there is no doubt.
"""

from collections.abc import Callable, Iterator
from copy import copy

from engine.model.ids import VersionId
from engine.ports.reload import ReloadReport
from tests.simulation.sites import Site, Target

FOR_EVER_US = 1 << 62


class Editions:
    """Of one history. `breach` is told of what cannot be, `now_us` gives the loop's time."""

    def __init__(self, first: Site, breach: Callable[[str], None], now_us: Callable[[], int]) -> None:
        self.now = first
        self.coming: Site | None = None
        self.is_stopping = False
        self.started_us = -1
        """When this run began; -1: none goes on."""
        self.ran: dict[int, Site] = {}
        """All by which this run of the engine has worked, or may have."""
        self._breach = breach
        self._now_us = now_us
        self._until: dict[int, int] = {}
        """Until when an edition that is no longer in force may have been."""
        self._spans: list[tuple[Site, int, int]] = []
        """Each edition with the time from which and until which it may have been in force, in this run."""
        self._last: dict[str, Target] = {}
        """Each destination as it was when it was last there, in this run."""
        self._versions: dict[VersionId, Site] = {}
        self.port_changes = 0
        """How often its connections had to be closed for it."""
        self.reloads = 0
        """How many have exchanged something."""

    def started(self, edition: Site) -> None:
        """A run of the engine begins with these files."""
        self.ended()
        self.started_us = self._now_us()
        self.now = edition
        self._begins(edition)
        self._works_by(edition)

    def ended(self) -> None:
        """The run is over."""
        self.started_us = -1
        self.coming = None
        self.is_stopping = False
        self.ran.clear()
        self._until.clear()
        self._spans.clear()
        self._last.clear()

    def as_now(self) -> "Editions":
        """This run as it is now, to judge what it has done when it is over."""
        then = copy(self)
        then.ran, then._until, then._last = dict(self.ran), dict(self._until), dict(self._last)
        then._spans = list(self._spans)
        return then

    def read(self, edition: Site) -> None:
        """A reload finds these files."""
        self.coming = edition
        if edition.is_valid:
            self.ran[edition.edition] = edition
            self._begins(edition)

    def given_up(self) -> None:
        """A reload was cut off before anything was exchanged."""
        if self.coming is not None:
            self._drop(self.coming)
        self.coming = None

    def reloaded(self, report: ReloadReport) -> None:
        """A reload says what came of it."""
        edition = self.coming
        if edition is None:
            self._breach("a reload says that it is done, and has read nothing")
            return
        if not edition.is_valid and report.outcome != "rejected":
            self._breach(f"a reload of files that are wrong is {report.outcome}")
        if edition.is_valid and (report.outcome == "rejected" or report.exit_code) and not self.is_stopping:
            self._breach(f"a reload of good files is {report.outcome}: {report.sentence}")
        if report.outcome == "unchanged" and edition.text != self.now.text:
            self._breach("a reload finds nothing changed, and something is")
        if report.outcome != "taken":
            self.given_up()
            return
        self.reloads += 1
        self.port_changes += self.may_change_port
        before, self.now, self.coming = self.now, edition, None
        if before.edition != edition.edition:
            self._drop(before)
        self._until.pop(edition.edition, None)
        self._works_by(edition)

    def may_be(self) -> Iterator[Site]:
        """What a message that comes now may go by."""
        yield self.now
        if self.coming is not None and self.coming.is_valid:
            yield self.coming

    @property
    def may_change_port(self) -> bool:
        """Whether a reload that is under way closes connections."""
        return self.coming is not None and self.coming.is_valid and self.coming.max_message != self.now.max_message

    def may_have_been(self, edition: Site, since_us: int) -> bool:
        """Whether a message that came then may have gone by this one until now."""
        if any(edition.edition == one.edition for one in self.may_be()):
            return True
        return self._until.get(edition.edition, -1) >= since_us

    def in_force(self, at_us: int) -> Iterator[Site]:
        """By which files what came at that moment of this run may have been answered at once."""
        return (edition for edition, since_us, until_us in self._spans if since_us <= at_us <= until_us)

    def is_there(self, destination: str) -> bool:
        """Whether this run has, or had, this destination: then it sends all that waits for it."""
        return destination in self._last

    def may_send(self, target: Target) -> bool:
        """Whether a lane with these settings may begin an attempt now."""
        there = [one.targets[target.name] for one in self.may_be() if target.name in one.targets]
        if target.name not in self.now.targets and target.name in self._last:
            there.append(self._last[target.name])  # it leaves, or has yet to be wanted again
        return any(target.text == one.text for one in there)

    def recorded(self, version: VersionId, edition: Site) -> None:
        """The store calls these files so."""
        self._versions[version] = edition

    def of(self, version: VersionId) -> Site | None:
        """The files of a version."""
        return self._versions.get(version)

    def _works_by(self, edition: Site) -> None:
        self.ran[edition.edition] = edition
        self._last.update(edition.targets)

    def _begins(self, edition: Site) -> None:
        self._spans.append((edition, self._now_us(), FOR_EVER_US))

    def _drop(self, edition: Site) -> None:
        if edition.edition != self.now.edition:
            self._until[edition.edition] = now_us = self._now_us()
            self._spans = [
                (one, since_us, min(until_us, now_us) if one.edition == edition.edition else until_us)
                for one, since_us, until_us in self._spans
            ]
