"""Who gives up a place: by where he comes from and how long he has got nothing done, never by how much he trickles."""

from engine.adapters.places import KNOWN_S, MOST_KNOWN, Guest, Known, Places


def stranger(network: str, since_s: float = 0.0) -> Guest:
    return Guest(network, False, since_s)


def signed(network: str, since_s: float = 0.0) -> Guest:
    return Guest(network, True, since_s)


def last(places: Places, guests: list[Guest], now_s: float = 100.0) -> Guest | None:
    return places.last_of([(one, one) for one in guests], guests, now_s)


def test_of_strangers_the_one_who_has_waited_longest_goes():
    guests = [stranger("10.0.0.1", 30), stranger("10.0.0.2", 20), stranger("10.0.0.3", 40)]
    assert last(Places(2), guests) == guests[1]


def test_a_stranger_goes_before_who_is_signed_in_however_long_that_one_is_idle():
    guests = [signed("10.0.0.1", 1), stranger("10.0.0.2", 99)]
    assert last(Places(1), guests) == guests[1]


def test_of_the_network_with_most_strangers_one_goes_though_others_have_waited_longer():
    guests = [stranger("10.0.0.1", 1), stranger("10.0.0.2", 50), stranger("10.0.0.2", 60)]
    assert last(Places(2), guests) == guests[1]


def test_connections_of_a_network_where_somebody_is_signed_in_go_after_those_of_strangers():
    places = Places(2)
    places.known.heard("10.0.0.1", 90.0)
    guests = [stranger("10.0.0.1", 1), stranger("10.0.0.1", 2), stranger("10.0.0.2", 99)]
    assert last(places, guests) == guests[2]
    assert last(places, guests, 90.0 + KNOWN_S + 1) == guests[0], "who was heard long ago is a stranger again"


def test_where_all_are_signed_in_the_longest_idle_one_goes():
    guests = [signed("10.0.0.1", 2), signed("10.0.0.2", 1)]
    assert last(Places(1), guests) == guests[1]


def test_only_those_are_asked_to_go_on_which_nothing_is_worked():
    busy, idle = stranger("10.0.0.1", 1), stranger("10.0.0.2", 2)
    assert Places(1).last_of([(idle, idle)], [busy, idle], 100.0) == idle
    assert Places(1).last_of([], [busy, idle], 100.0) is None


def test_strangers_of_one_network_are_bounded_and_who_is_signed_in_does_not_count():
    places = Places(32, 2)
    crowd = [stranger("10.0.0.1"), stranger("10.0.0.1"), *[signed("10.0.0.1")] * 9, *[stranger("10.0.0.2")] * 2]
    assert not places.is_full_of("10.0.0.1", crowd)
    assert places.is_full_of("10.0.0.1", [*crowd, stranger("10.0.0.1")])


def test_without_a_bound_and_for_proxies_and_local_sockets_there_is_none():
    crowd = [stranger("10.0.0.1")] * 32
    assert not Places(32).is_full_of("10.0.0.1", crowd)
    places = Places(32, 2, lambda address: address == "10.0.0.1")
    assert places.network("10.0.0.1") == "" == places.network("")
    assert places.network("10.0.0.2") == "10.0.0.2"
    assert not places.is_full_of("", [stranger("")] * 32)


def test_a_whole_ipv6_network_is_one():
    assert Places(32).network("2001:db8::1") == Places(32).network("2001:db8::ffff")


def test_what_is_known_of_networks_is_bounded_and_the_oldest_make_room():
    known = Known()
    for number in range(MOST_KNOWN):
        known.heard(f"n{number}", 1.0)
    known.heard("n0", 2.0)
    known.heard("another", 2.0)
    assert known.has("n0", 2.0) and known.has("another", 2.0) and not known.has("n1", 2.0)
