"""Feeds as one site has them watched: by its time zone and its holidays, told to its metrics."""

from collections.abc import Callable
from datetime import UTC, tzinfo

from engine.adapters.metrics import PrometheusMeter
from engine.config.feeds import FeedsOptions
from engine.config.hours import zone
from engine.config.settings import SiteSettings
from engine.config.site import LoadedSite
from engine.model.ids import ChannelName
from engine.ports.clock import Clock
from engine.ports.store import StoreQueries
from engine.runtime.feeds import Feeds
from engine.runtime.holidays import Holidays


def watched_feeds(queries: StoreQueries, clock: Clock, meter: PrometheusMeter, site: Callable[[], LoadedSite]) -> Feeds:
    """Which of them are silent, by what is usual; reads as anybody does who looks at the store. `site`: as of now."""

    def settings() -> SiteSettings:
        found = site().site
        assert found is not None, "an engine runs with a valid site"
        return found

    def tell(channel: ChannelName, count: int) -> None:
        meter.channel(channel).feeds_silent(count)

    def local() -> tzinfo:
        name = settings().time_zone
        return zone(name) if name is not None else UTC

    return Feeds(
        queries,
        clock,
        local,
        tell,
        lambda: {one.name for one in site().channels},
        lambda: holidays_of(settings().feeds),
    )


def holidays_of(options: FeedsOptions) -> Holidays:
    """As its file says."""
    return Holidays(
        (one.day for one in options.holidays if not one.is_yearly),
        ((one.day.month, one.day.day) for one in options.holidays if one.is_yearly),
        is_nothing_expected=options.on_holidays == "nothing",
    )
