"""`segmill spec`: what the page says, and that nothing in a file can make it say or do anything else."""

import re
from html.parser import HTMLParser

import pytest

from engine.cli.spec_html import STYLE
from engine.testing.sites import make_site

VOID = {"meta", "br", "wbr", "img", "input", "link", "hr"}
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section", "footer", "h1", "h2", "h3",
    "h4", "p", "ol", "ul", "li", "a", "code", "pre", "div", "span", "table", "caption", "thead", "tbody", "tr", "th",
    "td",
    "details", "summary",
}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "all that was opened is closed"

    def handle_starttag(self, tag: str, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(segmill, site, channel, *more) -> Page:
    said = segmill("spec", channel, "--site", site, *more)
    assert said.code == 0, said.err
    return Page(said.out)


@pytest.mark.parametrize("channel", ["adt", "orders", "results", "scanners"])
def test_a_page_for_screens_and_readers_of_screens(segmill, site, channel):
    page = page_of(segmill, site, channel)
    tags = page.tags
    assert {tag for tag, _ in tags} <= ALLOWED
    assert dict(tags)["html"] == {"lang": "en"}
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    for before, after in zip(page.headings, page.headings[1:], strict=False):
        assert after <= before + 1, "no level is left out"
    heads = [attributes for tag, attributes in tags if tag == "th"]
    assert heads and all(attributes.get("scope") in ("row", "col") for attributes in heads)
    tables = sum(tag == "table" for tag, _ in tags)
    assert tables == sum(tag == "caption" for tag, _ in tags) > 3
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)
    names = [attributes["aria-labelledby"] for _, attributes in tags if "aria-labelledby" in attributes]
    assert set(names) <= set(ids)


def test_what_it_says_of_a_channel(segmill, site):
    text = page_of(segmill, site, "adt").text
    for told in (
        "Interface specification adt",
        "Patient movements, updates and merges from the HIS",
        "MLLP at 127.0.0.1:2575",
        "ADT^A40 ADT_A39 (2.5.1)",
        "There must be a value in PID-3 , PID-5.1 , EVN-2 .",
        "PID-5.1 has at most 48 characters.",
        "Looks up PV1-3.1 in tables/wards.csv . If a value has no row there, the message is held for a person.",
        'Only if MRG exists holds: Copies MRG-1 from MRG-1[5 == "MR"] .',
        "AA, CA The message and all its deliveries are on stable storage",
        'Messages for which not MSH-9.2 in ["A05", "A28"] holds.',
        "The file cannot be written It is sent again after 1 second",
        "radiology walk-ins",
        "Sent to ris",
    ):
        assert told in text, told


def test_what_it_says_of_a_profile(segmill, site, repository):
    folder = site / "channels" / "orders"
    for name in ("base.yaml", "orders.yaml"):
        (folder / name).write_bytes((repository / "samples" / "profiles" / name).read_bytes())
    path = folder / "channel.yaml"
    path.write_text(
        path.read_text().replace("duplicates:", "validate: {profile: orders.yaml, mode: warn}\nduplicates:")
    )
    text = page_of(segmill, site, "orders").text
    assert "is at most: warning" in text
    assert "MSH-10 Message Control ID required (R) refused interface team" in text
    assert 'OBR-16 Ordering Provider required, may be empty (C(RE/O)) if ORC-1 == "NW", else optional' in text
    assert "ZDS-1 Study Instance UID required (R)" in text
    assert 'inpatients-have-a-ward if PV1-2 == "I" then PV1-3.1 is not empty' in text


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_nothing_in_a_file_gets_out_of_its_place(segmill, tmp_path):
    quoted, twice = HOSTILE.replace('"', '\\"'), HOSTILE.replace('"', '""')
    make_site(
        tmp_path,
        {
            "bad": {
                "channel.yaml": f"""
                description: "{quoted}\\u202e\\u0007"
                listen: {{mllp: {{port: 0}}}}
                validate: {{profile: p.yaml}}
                steps:
                  - name: "{quoted}"
                    set: {{PID-5: "{quoted.replace("|", "")}"}}
                  - map: {{PID-8: tables/t.csv, otherwise: "default({quoted})"}}
                routes: [{{to: out, when: 'PID-5.1 == "</code><script>x</script>"'}}]
                destinations: {{out: {{file: {{folder: "{quoted.replace("/", "")}", name: "{{MSH-10}}"}}}}}}
                """,
                "p.yaml": f"""
                description: "{quoted}"
                owner: "{quoted}"
                fields: {{PID-5: {{usage: R, name: "{quoted}", values: ["{quoted}"], message: "{quoted}"}}}}
                rules: [{{name: "x {quoted}", require: PID exists}}]
                """,
                "tables/t.csv": f'from,"{twice}"\n"<b>k</b>","</table><script>y</script>"\n',
                "cases/<img src=x>/in.hl7": "<b>no message</b>",
                "cases/c1/in.hl7": "MSH|^~\\&|</pre><script>q</script>|B|||2026||ADT^A01|1|P|2.5.1\nPID|\x1b[31m\x00|",
            }
        },
    )
    page = page_of(segmill, tmp_path, "bad")
    assert {tag for tag, _ in page.tags} <= ALLOWED
    assert not any(name.startswith("on") or name in ("src", "srcdoc", "style") for _, a in page.tags for name in a)
    assert "<script>alert(1)</script>" in page.text, "shown as the text that it is"
    assert "</pre><script>q</script>" in page.text
    raw = segmill("spec", "bad", "--site", tmp_path).out
    assert "\x1b" not in raw and "\x07" not in raw and "\u202e" not in raw and "\x00" not in raw


def test_cases_are_read_in_their_own_characters_and_no_link_is_followed(segmill, site, tmp_path):
    (tmp_path / "secret.txt").write_text("what-nobody-mails")
    case = site / "channels" / "adt" / "cases" / "latin-1-name"
    try:
        (case / "out.notes.txt").symlink_to(tmp_path / "secret.txt")
        page = page_of(segmill, site, "adt")
    finally:
        (case / "out.notes.txt").unlink()
    assert "Pr\u00f6benname^Zo\u00eb" in page.text
    assert "what-nobody-mails" not in page.text


def test_how_files_and_documents_are_called(segmill, tmp_path):
    channel = """\
listen: {mllp: {port: 2575}}
accept: [ORU^R01]
routes: [{to: archive}, {to: pdfs}]
destinations:
  archive: {file: {folder: out, name: "{MSH-10}.hl7", documents: {name: "{MSH-10}-{n}.{ext}"}}}
  pdfs: {file: {folder: pdf, documents: {name: "{OBR-3.1}.{ext}", only: true}}}
"""
    make_site(tmp_path, {"oru": {"channel.yaml": channel}})
    page = page_of(segmill, tmp_path, "oru")
    assert "A message is {MSH-10}.hl7 ." in page.text
    assert "A document in OBX-5 is {MSH-10}-{n}.{ext} ." in page.text
    assert "A document in OBX-5 is {OBR-3.1}.{ext} ; the message itself is not written." in page.text
    assert page.text.count("A message is") == 1


def test_no_script_and_nothing_from_elsewhere(segmill, site):
    raw = segmill("spec", "adt", "--site", site).out
    assert "default-src 'none'; style-src 'unsafe-inline'" in raw
    assert "<script" not in raw and "http://" not in raw and "https://" not in raw and "@import" not in raw
    assert "url(" not in raw


def test_the_same_files_make_the_same_page_and_others_another(segmill, site):
    one, two = (segmill("spec", "adt", "--site", site).out for _ in range(2))
    assert one == two
    table = site / "channels" / "adt" / "tables" / "wards.csv"
    table.write_text(table.read_text() + "NEW,N01,new\n")
    changed = segmill("spec", "adt", "--site", site).out
    version = re.compile(r"<code>([0-9a-f]{16})</code>")
    assert version.search(one)[1] != version.search(changed)[1] and "N01" in changed


def test_cases_are_told_of_and_can_stay_out(segmill, site):
    said = segmill("spec", "adt", "--site", site)
    assert "see that no patient is in them" in said.err and "Testperson" in said.out
    without = segmill("spec", "adt", "--site", site, "--no-examples")
    assert without.err == "" and "Testperson" not in without.out and "Examples" not in without.out
    few = segmill("spec", "adt", "--site", site, "--most", 1)
    assert "1 case in it" in few.err and "And 13 more cases" in few.out


def test_no_secret_gets_out(segmill, tmp_path, monkeypatch):
    monkeypatch.setenv("RIS_PASSWORD", "hunter2-secret")
    make_site(
        tmp_path,
        {
            "a": """
            listen: {mllp: {port: 0}}
            steps:
              - set: {PID-5: "${RIS_PASSWORD}"}
              - filter: PID-8 != "${RIS_PASSWORD}"
            routes: [{to: out}]
            destinations: {out: {http: {url: "http://127.0.0.1:9/x?token=${RIS_PASSWORD}"}}}
            """
        },
    )
    said = segmill("spec", "a", "--site", tmp_path)
    assert said.code == 0, said.err
    assert "hunter2" not in said.out and "***" in said.out
    assert "hunter2" not in segmill("spec", "a", "--site", tmp_path, "--json").out


def test_into_a_file_and_as_json(segmill, site, tmp_path):
    out = tmp_path / "pages" / "adt.html"
    said = segmill("spec", "adt", "--site", site, "--out", out, "--json")
    assert said.code == 0 and said.json["channel"] == "adt" and "ADT^A01" in said.json["types"]
    assert said.json["steps"][0]["name"] == "production only"
    assert {one["name"] for one in said.json["destinations"]} == {"ris", "archive"}
    Page(out.read_text(encoding="utf-8"))
    again = segmill("spec", "adt", "--site", site, "--out", out)
    assert again.code == 2 and "--force" in again.err
    assert segmill("spec", "adt", "--site", site, "--out", out, "--force").code == 0
    unknown = segmill("spec", "nothing", "--site", site)
    assert unknown.code == 2 and "there is adt, orders" in unknown.err


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["--paper", "--band"])
def test_text_stands_out_from_its_ground(ground):
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5 to 1, in light, in dark and on paper."""
    palettes = [dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", block)) for block in STYLE.split(":root")[1:]]
    assert len(palettes) == 3
    for palette in palettes:
        for ink, on in [(ink, ground) for ink in ("--ink", "--soft", "--link")] + [("--warning", "--warning-band")]:
            light, dark = sorted((_luminance(palette[ink]), _luminance(palette[on])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, on, palette[ink], palette[on])
