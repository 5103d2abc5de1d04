"""Messages and Message in a browser: search and pages, values shown on record, each action by click and then seen.

The engine is shared by all files of the console's tests, so each action is done to a message that no other test uses.
"""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.ports.search import Find

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.e2e.console_rig import Browse, Console


def seq_of(console: "Console", control_id: str) -> int:
    with console.store() as store:
        (found,) = store.find(Find(control_id=control_id)).messages
        return found.seq


def message_of(console: "Console", seq: int) -> Any:
    with console.store() as store:
        return store.message(seq)  # type: ignore[arg-type]


def deliveries_of(console: "Console", seq: int) -> list[Any]:
    with console.store() as store:
        return list(store.deliveries(seq))  # type: ignore[arg-type]


def search(page: "Page", text: str) -> None:
    page.get_by_label("Search", exact=True).fill(text)
    page.get_by_role("button", name="Search", exact=True).click()


def rows(page: "Page") -> list[int]:
    return [int(text) for text in page.locator("table.messages tbody th a").all_inner_texts()]


def last(console: "Console", action: str) -> Any:
    return [row for row in console.audit() if row.action == action][-1]


def test_a_number_leads_to_its_message_and_stands_in_no_address(console: "Console", browse: "Browse"):
    page = browse("operator", "/messages")
    assert len(rows(page)) == 50
    page.keyboard.press("/")
    page.keyboard.type("filler:F600042")
    page.keyboard.press("Enter")
    page.wait_for_url("**/messages?search=*")
    (seq,) = rows(page)
    assert "F600042" not in page.url and last(console, "search").scope == "filler:F600042"
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/messages/{seq}")
    assert "F600042" not in page.content()
    page.get_by_role("link", name="Same patient, older").click()
    page.wait_for_url(re.compile(rf"/messages/(?!{seq}$)\d+$"))
    with console.store() as store:
        found = [store.message(one).raw for one in (seq, int(page.url.rpartition("/")[2]))]  # type: ignore[union-attr, arg-type]
    numbers = [re.search(rb"PID\|1\|\|(\d+)", raw or b"") for raw in found]
    assert numbers[0] is not None and numbers[1] is not None and numbers[0][1] == numbers[1][1]


def test_pages_chips_and_columns(browse: "Browse"):
    page = browse("viewer", "/messages")
    first = rows(page)
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**before=*")
    second = rows(page)
    assert second[0] < first[-1]
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url("**after=*")
    assert rows(page) == first
    search(page, "channel:results state:errored")
    page.wait_for_url("**/messages?channel=results&state=errored")
    page.get_by_role("button", name="24 h").click()
    page.wait_for_url("**/messages?channel=results&state=errored&since=24h")
    assert page.get_by_role("button", name="24 h").get_attribute("aria-pressed") == "true"
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Version").check()
    page.get_by_role("button", name="Show these").click()
    page.wait_for_url("**columns=version*")
    assert page.get_by_role("columnheader", name="Version").is_visible()


def test_a_search_that_cannot_be_read_shows_where(browse: "Browse"):
    browse.allow(422)
    page = browse("operator", "/messages", scripts=False)
    search(page, "channel:results state:helt")
    assert "Column 23: 'helt' is no state: did you mean 'held'?" in page.get_by_role("alert").inner_text()
    assert page.locator("mark").inner_text() == "helt"


def test_the_list_is_saved_as_a_file_without_formulas(console: "Console", browse: "Browse"):
    page = browse("operator", "/messages?channel=results&state=held")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    table = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert table and {row["channel"] for row in table} == {"results"}
    assert last(console, "export").scope == "channel:results state:held"


def test_values_are_shown_by_a_click_and_that_is_on_record(console: "Console", browse: "Browse"):
    seq = seq_of(console, "R00110")
    page = browse("operator", f"/messages/{seq}")
    raw = message_of(console, seq).raw.decode()
    number = raw.partition("PID|1||")[2].partition("^")[0]
    assert number not in page.content()
    page.get_by_role("button", name="Show the values").click()
    page.get_by_role("link", name="Mask the values").wait_for()
    assert number in page.locator("#raw").inner_text() and number in page.locator("#tree").inner_text()
    assert (last(console, "read").ids, last(console, "read").actor.partition(" ")[0]) == (f"messages {seq}", "operator")
    assert "Release 2.5.1" in page.locator("#tree").inner_text()
    assert "codes of the record" in page.locator("#deliveries").inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the bytes").click()
    assert Path(download.value.path()).read_bytes() == message_of(console, seq).raw


def test_a_viewer_sees_structure_and_no_way_to_more(console: "Console", browse: "Browse"):
    page = browse("viewer", f"/messages/{seq_of(console, 'R00110')}")
    assert page.get_by_text("PID-5.1").first.is_visible()
    assert page.get_by_role("button", name="Show the values").count() == 0
    assert page.get_by_role("link", name="Resend").count() == 0


def test_a_resend_to_one_destination_is_planned_then_done(console: "Console", browse: "Browse"):
    seq = seq_of(console, "A03000")
    before = len(deliveries_of(console, seq))
    page = browse("operator", f"/messages/{seq}")
    page.get_by_role("link", name="Resend …").click()
    page.get_by_label("ris", exact=True).check()
    page.get_by_role("button", name="Plan it so").click()
    page.wait_for_url("**to=ris*")
    assert "goes again to ris" in page.locator(".plan").inner_text()
    page.get_by_label("Reason").fill("they lost it")
    page.get_by_role("button", name="Resend 1 message").click()
    page.wait_for_url(f"**/messages/{seq}")
    assert "Resent: 1 message, 1 delivery" in page.get_by_role("status").inner_text()
    assert len(deliveries_of(console, seq)) == before + 1
    assert (last(console, "resend").reason, last(console, "resend").ids.partition(";")[0]) == (
        "they lost it",
        f"messages {seq}",
    )


def test_a_reprocess_of_chosen_messages(console: "Console", browse: "Browse"):
    seqs = [seq_of(console, f"A0310{n}") for n in (1, 2)]
    page = browse("operator", f"/messages?channel=adt&before={max(seqs) + 1}")
    for seq in seqs:
        page.get_by_label(f"Choose message {seq}").check()
    page.get_by_role("button", name="Reprocess …").click()
    assert "the same bytes as before" in page.locator(".plan").inner_text()
    page.get_by_role("button", name="Reprocess 2 messages").click()
    page.wait_for_url("**/messages")
    assert "Reprocessed: 2 messages" in page.get_by_role("status").inner_text()
    assert sorted(map(int, re.findall(r"\d+", last(console, "reprocess").ids.partition(";")[0])))[0] == min(seqs)


def test_a_page_that_comes_in_pieces_is_read_whole(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import slow_line

    page = browse("operator", f"/messages/{seq_of(console, 'A03100')}")
    slow_line(page, 4000)
    page.get_by_role("link", name="Reprocess …").click()
    plan = page.locator(".plan")
    assert "the same bytes as before" in plan.inner_text() and plan.get_by_role("button").count() == 2


def test_an_edited_message_is_sent_linked_and_once(console: "Console", browse: "Browse"):
    seq = seq_of(console, "A03200")
    page = browse("operator", f"/messages/{seq}")
    page.get_by_role("button", name="Edit and resend …").click()
    box = page.get_by_label("Message", exact=True)
    typed = box.input_value()
    assert typed.splitlines()[0].startswith("MSH|")
    box.fill(typed + "\nNTE|1||größer als </textarea>\n")
    page.get_by_role("button", name="Show what is different").click()
    plan = page.locator(".plan").inner_text()
    assert "NTE" in plan and "größer als </textarea>" in plan
    page.get_by_label("Reason").fill("a note was missing")
    page.get_by_role("button", name="Send it as a new message").dblclick()
    page.wait_for_url(re.compile(rf"/messages/(?!{seq}/)\d+$"))
    made = int(page.url.rpartition("/")[2])
    assert "edited by a person" in page.locator("main").inner_text()
    assert "größer als </textarea>".encode() in message_of(console, made).raw
    with console.store() as store:
        assert list(store.links(seq).edited) == [made]  # type: ignore[arg-type]
    assert last(console, "edit").reason == "a note was missing"
    page.get_by_role("link", name=f"message {seq}").first.click()
    page.wait_for_url(f"**/messages/{seq}")
    assert page.get_by_role("link", name=f"message {made}").is_visible()


def test_a_held_message_is_released_or_discarded_with_a_reason(console: "Console", browse: "Browse"):
    seq = seq_of(console, "A00040")
    page = browse("operator", f"/messages/{seq}")
    assert message_of(console, seq).state == "held"
    page.get_by_role("link", name="Release …").click()
    assert "becomes held" in page.locator(".plan").inner_text()
    page.get_by_role("button", name="Release 1 message").click()
    page.wait_for_url(f"**/messages/{seq}")
    assert last(console, "release").ids == f"messages {seq}"
    page.get_by_role("link", name="Discard …").click()
    page.get_by_role("button", name="Discard 1 message").click()
    assert page.get_by_label("Reason").evaluate("box => box.validity.valueMissing"), "a reason is asked for"
    page.get_by_label("Reason").fill("the patient is not ours")
    page.get_by_role("button", name="Discard 1 message").click()
    page.wait_for_url(f"**/messages/{seq}")
    assert message_of(console, seq).state == "discarded"
    assert last(console, "discard").reason == "the patient is not ours"


def test_no_text_of_a_message_does_anything(console: "Console", browse: "Browse"):
    page = browse("operator", "/messages")
    # One of each kind; the others go through the same templates without a browser (tests/adapters/console).
    for number in (0, 1, 3, 4, 8, 9, 10, 11, 12):
        page.goto(f"/messages/{seq_of(console, f'A{number:05}')}")
        page.get_by_role("button", name="Show the values").click()
        page.get_by_role("link", name="Mask the values").wait_for()
        assert (
            page.locator("main").evaluate("main => main.querySelectorAll('img, script, style, base, iframe').length")
            == 0
        )
        assert page.locator("html").evaluate("html => html.scrollWidth - html.clientWidth") <= 0


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("messages", "/messages?state=held"),
        ("message", "/messages/{R00110}"),
        ("message-held", "/messages/{R00043}"),
        ("message-plan", "/messages/plan?action=resend&seq={R00110}"),
    ],
)
def test_looks(console: "Console", browse: "Browse", name: str, path: str):
    from tests.e2e.console_rig import check_looks

    path = re.sub(r"\{(\w+)\}", lambda found: str(seq_of(console, found[1])), path)
    check_looks(browse, name, path, "operator")


def test_looks_of_values_and_of_an_edit(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import findings_of_axe, overflow_of, shoot

    for width, mode in ((1280, "light"), (1280, "dark"), (400, "narrow")):
        scheme = "dark" if mode == "dark" else "light"
        page = browse("operator", f"/messages/{seq_of(console, 'R00110')}", width=width, scheme=scheme)  # type: ignore[arg-type]
        page.get_by_role("button", name="Show the values").click()
        page.get_by_role("link", name="Mask the values").wait_for()
        assert findings_of_axe(page) == []
        assert overflow_of(page) <= 0
        shoot(page, f"message-values-{mode}")
        page.get_by_role("button", name="Edit and resend …").click()
        box = page.get_by_label("Message", exact=True)
        box.fill(box.input_value() + "\nNTE|1||new")
        page.get_by_role("button", name="Show what is different").click()
        page.locator(".plan").wait_for()
        assert findings_of_axe(page) == []
        assert overflow_of(page) <= 0
        shoot(page, f"message-edit-{mode}")
