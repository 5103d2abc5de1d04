"""Timers of an association by a clock that nobody sets."""

from types import SimpleNamespace

import pytest
from pynetdicom import AE, timer
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation

from engine.adapters.dicom import timers
from engine.adapters.dicom.scu import _ConnectedAE
from engine.adapters.dicom.timers import SteadyTimer, steady_timers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`now` seconds, of the steady clock; the wall clock is set to and fro at each look."""
    made = SimpleNamespace(now=100.0)
    walls = iter(range(0, 10**9, 10**4))
    monkeypatch.setattr(timers, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(timer, "time", SimpleNamespace(time=lambda: (-1) ** next(walls) * next(walls)))
    return made


def test_it_goes_by_the_steady_clock_from_its_start_to_its_stop(clock: SimpleNamespace) -> None:
    made = SteadyTimer(30)
    assert (made.remaining, made.expired) == (30, False)
    made.start()
    clock.now += 29
    assert (made.remaining, made.expired) == (1, False)
    made.restart()
    clock.now += 31
    assert made.expired
    made.restart()
    made.stop()
    clock.now += 31
    assert not made.expired
    made.timeout = None
    assert (made.remaining, made.expired) == (1, False)


def test_both_of_an_association_are_so() -> None:
    association = Association(AE(), "acceptor")
    steady_timers(association)
    assert type(association.dul.artim_timer) is type(association.dul._idle_timer) is SteadyTimer


def test_those_of_an_association_that_we_ask_for_too() -> None:
    ae = _ConnectedAE("SEGMILL", None)  # type: ignore[arg-type]
    association = Association(ae, "requestor")
    ae._create_socket(association, AddressInformation.from_tuple(("127.0.0.1", 1)), None)
    assert type(association.dul.artim_timer) is type(association.dul._idle_timer) is SteadyTimer
