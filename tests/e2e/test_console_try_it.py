"""Try it in a browser: what is typed is tried a moment later, and what people put into it harms nobody."""

import re
from typing import TYPE_CHECKING

from tests.e2e.console_engine import HOSTILE

if TYPE_CHECKING:
    from tests.e2e.console_rig import Browse, Console


SAMPLE = """MSH|^~\\&|HIS|NORTH|SEGMILL|NORTH|20260101120000||ADT^A02|TRY1|P|2.5.1
PID|1||4711^^^NORTH^MR||Testperson^Tina||19800101|W
PV1|1|I|{ward}"""


def ward(console: "Console") -> str:
    """One that the table knows."""
    table = (console.folder / "channels" / "adt" / "tables" / "wards.csv").read_text()
    rows = [line.split(",")[0] for line in table.splitlines() if line and not line.startswith(("#", "*"))]
    return rows[1]  # behind the names of the columns


def test_what_is_typed_is_tried_a_moment_later(console: "Console", browse: "Browse"):
    page = browse("analyst", "/try/adt")
    page.get_by_label("Message", exact=True).fill(SAMPLE.format(ward=ward(console)))
    steps = page.locator("#steps")
    steps.get_by_text("answer AA").wait_for()
    assert steps.get_by_role("row", name="PID-8").count() >= 1
    text = page.get_by_label("channel.yaml")
    before = text.input_value()
    text.fill(before.replace("  - copy:", "  - copi:"))
    problem = page.locator("#problems [data-line]")
    problem.wait_for()
    line = int(problem.inner_text())
    assert before.split("\n")[line - 1].startswith("  - copy:")
    assert page.locator(".gutter .bad").inner_text() == str(line)
    assert page.locator("[data-edited]").first.is_visible()
    problem.click()
    assert text.evaluate("(box) => box.value.slice(0, box.selectionStart).split('\\n').length") == line
    text.fill(before)
    page.get_by_text("No findings.").wait_for()
    steps.get_by_text("answer AA").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "channel.yaml"


def test_text_message_and_outcome_are_seen_at_once_on_a_laptop(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import overflow_of

    page = browse("analyst", "/try/adt")
    page.get_by_label("Message", exact=True).fill(SAMPLE.format(ward=ward(console)))
    page.locator("#steps").get_by_text("answer AA").wait_for()
    for width, height, columns in ((1280, 800, 2), (1440, 900, 2), (1920, 1080, 3)):
        page.set_viewport_size({"width": width, "height": height})
        boxes = [page.locator(one).bounding_box() for one in ("#text", "#sample", "#steps")]
        assert all(box is not None and box["y"] + box["height"] <= height for box in boxes), (width, boxes)
        assert len({round(box["x"] / 100) for box in boxes if box is not None}) == columns
        assert overflow_of(page) <= 0


def test_it_works_without_a_script(console: "Console", browse: "Browse"):
    page = browse("analyst", "/try/adt", scripts=False)
    page.locator("#sample").fill(SAMPLE.format(ward=ward(console)))
    page.get_by_role("button", name="Try", exact=True).click()
    assert "answer AA" in page.locator("#steps").inner_text()


def test_a_stored_message_is_tried_and_saved_without_its_patient(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import check_here

    page = browse("analyst", "/try/adt")
    page.locator(".last button").first.click()
    page.get_by_text("that it was read is on record").wait_for()
    seq = page.locator("input[name=origin]").input_value()
    sample = page.locator("#sample").input_value()
    family = next(line for line in sample.split("\n") if line.startswith("PID")).split("|")[5]
    row = [row for row in console.audit() if row.action == "read"][-1]
    assert (row.actor.split()[0], row.ids) == ("analyst", f"messages {seq}")
    page.get_by_text("Save as a case").click()
    page.get_by_label("Name").fill("from-traffic")
    assert page.get_by_label(re.compile("De-identified")).is_checked()
    page.get_by_role("button", name="See what would be written").click()
    page.get_by_role("heading", name=re.compile("files in")).wait_for()
    assert family not in page.content()
    check_here(page, "try-case")
    page.get_by_role("button", name="Write it").click()
    page.get_by_text("Case from-traffic was written").wait_for()
    assert (console.folder / "channels" / "adt" / "cases" / "from-traffic" / "in.hl7").is_file()
    assert [row for row in console.audit() if row.action == "case"][-1].ids == "adt/cases/from-traffic"


def test_hostile_texts_and_messages_run_nothing(browse: "Browse"):
    page = browse("analyst", "/try/adt")
    text = page.get_by_label("channel.yaml")
    before = text.input_value()
    for hostile in HOSTILE:
        quoted = hostile.replace("\\", "\\\\").replace('"', '\\"')
        text.fill(before + f'"{quoted}": 1\n')
        page.locator("#sample").fill(SAMPLE.format(ward=hostile).replace("Testperson", hostile))
    page.locator("#problems [data-line]").wait_for()
    text.fill(before)
    page.locator("#steps .outcome").wait_for()
    assert page.locator("#steps script, #problems script, #steps img").count() == 0
    assert page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_pages_look_right(console: "Console", browse: "Browse"):
    from tests.e2e.console_rig import NARROW, findings_of_axe, overflow_of, shoot

    for width, mode in ((NARROW, "narrow"), (1280, "light"), (1280, "dark")):
        page = browse("analyst", "/try/adt", width=width, scheme="dark" if mode == "dark" else "light")
        page.get_by_label("Message", exact=True).fill(SAMPLE.format(ward=ward(console)))
        text = page.get_by_label("channel.yaml")
        page.locator("#steps .outcome").wait_for()
        text.fill(
            text.input_value().replace(
                "  - delete: [PID-19]", "  - delete: [PID-19]\n  - set: {PID-5.1: =lower(PID-5.1)}\n# ="
            )
        )
        page.get_by_text("edited", exact=True).wait_for()
        assert findings_of_axe(page) == [], mode
        assert overflow_of(page) <= 0
        shoot(page, f"try-{mode}")
