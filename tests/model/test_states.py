"""The tables of states say what may happen to a message and to a delivery, and nothing else may."""

import pytest

from engine.adapters.stores.codes import DELIVERY_CODES, DELIVERY_OF, MESSAGE_CODES, MESSAGE_OF, PERSONAL_MOVES
from engine.model.states import (
    DELIVERY_MOVES,
    DELIVERY_STATES,
    MESSAGE_MOVES,
    MESSAGE_STATES,
    IllegalMove,
    check_delivery_move,
    check_message_move,
)


def test_every_state_has_its_row_and_moves_only_to_states_there_are():
    assert set(MESSAGE_MOVES) == set(MESSAGE_STATES)
    assert set(DELIVERY_MOVES) == set(DELIVERY_STATES)
    assert set().union(*MESSAGE_MOVES.values()) <= set(MESSAGE_STATES)
    assert set().union(*DELIVERY_MOVES.values()) <= set(DELIVERY_STATES)


@pytest.mark.parametrize("before", MESSAGE_STATES)
@pytest.mark.parametrize("after", MESSAGE_STATES)
def test_a_message_may_move_as_the_table_says_and_not_otherwise(before, after):
    if after in MESSAGE_MOVES[before]:
        check_message_move(before, after)
    else:
        with pytest.raises(IllegalMove, match=f"from {before} to {after}"):
            check_message_move(before, after)


@pytest.mark.parametrize("before", DELIVERY_STATES)
@pytest.mark.parametrize("after", DELIVERY_STATES)
def test_a_delivery_may_move_as_the_table_says_and_not_otherwise(before, after):
    if after in DELIVERY_MOVES[before]:
        check_delivery_move(before, after)
    else:
        with pytest.raises(IllegalMove, match=f"from {before} to {after}"):
            check_delivery_move(before, after)


def test_what_a_sender_was_told_to_keep_and_what_was_delivered_never_move():
    assert not MESSAGE_MOVES["rejected"]
    assert not MESSAGE_MOVES["discarded"]
    assert not DELIVERY_MOVES["delivered"]


def test_nothing_becomes_received_again():
    assert "received" not in set().union(*MESSAGE_MOVES.values())


def test_a_fragment_waits_only_once_and_is_never_a_message_by_itself():
    """What it says goes out with the message it is a part of, or is set aside for a person with it."""
    assert "waiting" not in set().union(*MESSAGE_MOVES.values())
    assert MESSAGE_MOVES["waiting"] == {"joined", "held", "rejected"}
    assert not MESSAGE_MOVES["joined"]


def test_an_attempt_may_end_in_any_state_because_it_starts_from_queued():
    """The stores check results by "was it queued?" alone."""
    assert DELIVERY_MOVES["queued"] == set(DELIVERY_STATES)


def test_a_person_moves_only_what_the_table_allows_and_nothing_that_may_be_on_its_way():
    for to, sources in PERSONAL_MOVES.items():
        assert all(to in DELIVERY_MOVES[before] for before in sources)
        assert "queued" not in sources


def test_every_state_keeps_its_number_in_the_file():
    """These numbers are in the stores of hospitals: a change here needs a migration."""
    assert MESSAGE_CODES == {
        "received": 0,
        "processed": 1,
        "filtered": 2,
        "held": 3,
        "rejected": 4,
        "discarded": 5,
        "waiting": 6,
        "joined": 7,
    }
    assert DELIVERY_CODES == {"queued": 0, "delivered": 1, "held": 2, "failed": 3, "redirected": 4}
    assert set(MESSAGE_OF.values()) == set(MESSAGE_STATES)
    assert set(DELIVERY_OF.values()) == set(DELIVERY_STATES)
