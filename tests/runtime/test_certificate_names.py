"""Whom a certificate names: the alternative names, the common name only without any, and as text that can be shown."""

from engine.runtime.certificate_names import MOST_CHARS, names_of

SUBJECT = ((("organizationName", "Hospital"),), (("commonName", "his.example.org"),))


def test_the_common_name_counts_only_where_there_is_no_other() -> None:
    assert names_of({"subject": SUBJECT}) == ("his.example.org",)
    others = (("DNS", "lab.example.org"), ("IP Address", "10.1.2.3"), ("othername", "<unsupported>"))
    assert names_of({"subject": SUBJECT, "subjectAltName": others}) == ("lab.example.org", "10.1.2.3")
    assert names_of({}) == ()


def test_a_server_of_many_names_is_known_by_the_last_of_them_too() -> None:
    many = tuple(("DNS", f"his-{number}.example.org") for number in range(250))
    assert names_of({"subjectAltName": many})[-1] == "his-249.example.org"


def test_what_it_shows_is_a_line_of_bounded_length() -> None:
    (shown,) = names_of({"subjectAltName": (("DNS", "a\nb\x1b[31m" + "c" * 1000),)})
    assert shown.isprintable() and len(shown) == MOST_CHARS
