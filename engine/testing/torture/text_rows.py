"""Rows about delimiters, escapes, character sets and sets of messages (items 38 to 72)."""

from engine.testing.torture.build import PERSON, adt, as_good, block, borne, no, oru, taken, yes
from engine.testing.torture.row import Again, Await, Due, Kept, Outcome, Row, Send


def _text() -> list[Row]:
    """Delimiters, structure and escapes: what is not understood must leave as it came."""

    def passes(name: str, items: list[int], about: str, message: bytes, *findings: str) -> Row:
        return taken(name, items, about, message, findings=findings)

    second = oru("edit1", b"OBX|1|FT|T^T^L||\\H\\bold\\N\\ 5\\6 \\.br\\\\F\\\\E\\F\\ \\Zx\\||||||F", to=b"EDIT")
    return [
        passes(
            "msh2-short", [39], "MSH-2 is ^ alone: the other delimiters are not in use", adt("two1", mark=b"^"), "W312"
        ),
        passes(
            "msh2-no-escape", [39], "MSH-2 is ^~&: the escape character was forgotten", adt("two2", mark=b"^~&"), "W310"
        ),
        passes("msh2-doubled", [39], "MSH-2 is ^~\\\\&, escaped once too often", adt("two3", mark=b"^~\\\\&"), "W310"),
        passes("msh2-permuted", [39], "MSH-2 is ^&~\\", adt("two4", mark=b"^&~\\")),
        passes("msh2-repeated", [39], "MSH-2 is &&&&", adt("two5", mark=b"&&&&", kind=b"ADT&A01"), "W311"),
        passes(
            "z-segments",
            [44, 48],
            "segments that nobody knows",
            adt("zseg1", b"ZPD|1|a^b&c~d", b"ZZZ", b"QQQ|not a Z-segment"),
        ),
        passes(
            "trailing-delimiters",
            [45],
            "empty fields, components and repetitions at the ends",
            adt("trail1", b"NTE|1||text^^^|||", b"ZTR|a~~|b&&|||"),
        ),
        passes(
            "delete-markers",
            [46],
            'two quotes, which say "delete it", in a field, a component and a text',
            adt("null1", b'NK1|1|""|^""^x', b'NTE|1||he said "" twice'),
        ),
        passes("blank-lines-between", [47], "an empty line between segments", adt("gap1", b"", b"NTE|1||x")),
        passes("bare-names", [47], "segments of nothing but their name", adt("bare1", b"NTE", b"ADD")),
        passes(
            "observations",
            [49],
            "numbers that are none, a type that is none, no type at all",
            oru("obx1", b"OBX|1|NM|A^A^L||>5||||||F", b"OBX|2||B^B^L||x||||||F", b"OBX|3|QQ|C^C^L||y||||||X"),
        ),
        passes(
            "lone-escape-characters",
            [52],
            "backslashes that start no escape sequence",
            adt("esc1", b"NTE|1||C:\\temp\\new 50\\5 A \\ B\\"),
        ),
        passes(
            "escapes",
            [53],
            "every kind of escape sequence, some of them wrong",
            adt(
                "esc2",
                b"NTE|1||\\F\\\\S\\\\T\\\\R\\\\E\\\\P\\\\X0D\\\\XC3A9\\",
                b"NTE|2||\\X1\\\\.br\\\\.sk x\\\\H\\\\N\\\\C2842\\\\Zab\\\\q\\",
            ),
        ),
        taken(
            "edit-beside-escapes",
            [45, 52, 53],
            "a channel that edits PID-8 leaves every other byte",
            second,
            delivered=[second.replace(PERSON, PERSON[:-1] + b"X")],
        ),
        passes(
            "out-of-order", [72], "segments in an order that no structure has", adt("order1", b"EVN||x", b"MSA|AA|1")
        ),
        passes(
            "embedded-document",
            [56],
            "base64 of every length in OBX-5.5",
            oru("doc1", b"OBX|1|ED|D^D^L||^text^plain^Base64^QQ==~^text^plain^A^a\\T\\b||||||F"),
        ),
    ]


def _charsets() -> list[Row]:
    """Character sets, declared truly, falsely and not at all."""

    def named(
        short: str,
        about: str,
        declared: bytes,
        codec: str,
        name: str,
        *findings: str,
        switching: bytes = b"",
        items: tuple[int, ...] = (57, 59),
    ) -> Row:
        person = f"PID|1||900001^^^NORTH^MR||{name}||19700101|F".encode(codec)
        message = adt(short, person=person, charset=declared, switching=switching)
        return taken(f"charset-{short}", items, about, message, findings=findings)

    def edited(short: str, about: str, declared: bytes, codec: str, name: str, switching: bytes = b"") -> Row:
        person = f"PID|1||900001^^^NORTH^MR||{name}||19700101|F".encode(codec)
        message = adt(short, person=person, charset=declared, switching=switching, to=b"EDIT")
        after = message.replace(person, person[:-1] + b"X")
        return taken(f"charset-{short}", [51, 62, 63], about, message, delivered=[after])

    return [
        named("utf8", "UTF-8, declared", b"UNICODE UTF-8", "utf-8", "Prüfling^Ελένη^Жанна"),
        named("latin1", "Latin-1, declared", b"8859/1", "latin-1", "Prüfling^Jörg"),
        named("latin9", "Latin-9, declared", b"8859/15", "iso8859_15", "Œuvre^Žofie €"),
        named("cyrillic", "8859/5, declared", b"8859/5", "iso8859_5", "Пробная^Анна"),
        named("gb18030", "GB 18030", b"GB 18030-2000", "gb18030", "测试^患者"),
        named("big5", "Big5", b"BIG-5", "big5", "測試^病人"),
        named("korean", "KS X 1001", b"KS X 1001", "euc_kr", "시험^환자"),
        named(
            "japanese",
            "JIS X 0208 by ISO 2022",
            b"~ISO IR87",
            "iso2022_jp",
            "YAMADA^TARO~山田^太郎",
            switching=b"ISO 2022-1994",
            items=(57, 58, 59, 63),
        ),
        named("undeclared", "UTF-8 with an empty MSH-18", b"", "utf-8", "Prüfling^Jörg", "W301"),
        named("undeclared-1252", "Windows-1252 with an empty MSH-18", b"", "cp1252", "Prüfling^Jörg", "W306"),
        named("false", "UTF-8 that is declared as 8859/1", b"8859/1", "utf-8", "Prüfling^Jörg", "W302"),
        named("windows", "Windows characters declared as 8859/1", b"8859/1", "cp1252", "Prüfling^“Jörg” €", "W307"),
        named("unknown", "a character set that nobody knows", b"KLINGON-1", "ascii", "Testperson^Anna", "W305"),
        named("cns", "CNS 11643-1992, for which there is no codec", b"CNS 11643-1992", "ascii", "Testperson", "W305"),
        named(
            "breaks",
            "characters that Python takes for line ends or blanks",
            b"UNICODE UTF-8",
            "utf-8",
            "Form\x0cfeed^NEL\x85^LS\u2028^NBSP\xa0",
            items=(61,),
        ),
        taken(
            "charset-cut-character",
            [60],
            "a UTF-8 text with half a character in it",
            adt("cutc1", person=b"PID|1||900001||Pr\xc3\xbcfling^J\xc3\xb6rg^\xc3", charset=b"UNICODE UTF-8"),
            findings=["W304"],
            also=[as_good(no("cutc1", "AE", "103")), as_good(no("cutc1", "AE", "102"))],
        ),
        edited(
            "gb18030-edited",
            "GB 18030 whose second bytes are | ^ \\ ~, edited beside them",
            b"GB 18030-2000",
            "gb18030",
            "測亅乗乣",
        ),
        edited("big5-edited", "Big5 whose second bytes are delimiters, edited beside them", b"BIG-5", "big5", "功許蓋"),
        edited(
            "japanese-edited",
            "ISO-2022-JP in which 万 is the bytes K|, edited beside it",
            b"~ISO IR87",
            "iso2022_jp",
            "万^太郎",
            b"ISO 2022-1994",
        ),
        edited(
            "shift-jis-edited",
            "Shift JIS with second bytes of \\ and |, edited beside them",
            b"ISO IR14",
            "shift_jis",
            "表^ポ",
        ),
    ]


def _sets() -> list[Row]:
    """Several messages, parts of messages, and messages again."""
    one, two, three = adt("bat1"), adt("bat2"), adt("bat3", to=b"REFUSE", person=b"PID|1||||Testperson^Anna")
    batch = (
        b"FHS|^~\\&|TORTURE|NORTH|ALL|NORTH|20260102||||FILE1\rBHS|^~\\&|TORTURE|NORTH|ALL|NORTH|20260102||||BATCH1\r"
        + one
        + two
        + three
        + b"BTS|3\rFTS|1\r"
    )
    first, changed = adt("dup1"), adt("dup1", b"NTE|1||changed")
    plain = [adt("sev1"), adt("sev2")]
    return [
        Row(
            "batch",
            (67,),
            "a batch of three in one block, one of them refused: a batch of three answers",
            (Send(block(batch)),),
            (
                Outcome((yes("bat1"), yes("bat2"), no("bat3", "AE", "101"))),
                as_good(yes("bat1"), yes("bat2"), yes("bat3")),
                as_good(no("bat3", "AE", "101")),
                as_good(Due("AR", b"")),
                as_good(Due("AE", b"")),
            ),
            (
                Kept("processed", one),
                Kept("processed", two),
                Kept("rejected", three, ("E210",)),
            ),
            (one, two),
            joins=True,
        ),
        Row(
            "empty-batch",
            (67,),
            "a batch without messages is legal",
            (Send(block(b"BHS|^~\\&|TORTURE|NORTH|ALL|NORTH|20260102||||EMPTY1\rBTS|0\r")),),
            (Outcome(), borne(Due("AR", b"")), borne(Due("AE", b"")), borne(closes=True)),
        ),
        taken(
            "two-in-a-block",
            [67, 37],
            "two messages in one block without batch headers: two messages, two answers",
            *plain,
            steps=[Send(block(b"".join(plain)))],
            also=[as_good(no("sev1", "AE", "100")), as_good(no("sev1", "AR", "100"))],
            joins=True,
        ),
        taken(
            "msh-in-a-text",
            [67],
            "the letters MSH in a note, twice: it stays one message",
            adt("mshx1", b"NTE|1||see MSH and MSH| above"),
        ),
        taken(
            "sequence-number",
            [64],
            "MSH-13 is valued, which a receiver without the sequence protocol ignores",
            adt("seq1", sequence=b"4711"),
        ),
        taken(
            "continued-segment",
            [65],
            "an ADD segment, which a receiver may join or pass on",
            adt("add1", b"NTE|1||first half,", b"ADD| second half"),
        ),
        taken(
            "continued-message",
            [66],
            "a DSC segment: the message goes on in the next one, which names it in MSH-14",
            adt("dsc1", b"DSC|PTR1"),
            adt("dsc2", continuation=b"PTR1"),
        ),
        Row(
            "resend",
            (68,),
            "the same message again, as after a lost answer: the same answer, and processed once",
            (Send(block(first)), Await(1), Send(block(first))),
            (Outcome((yes("dup1"), yes("dup1"))),),
            (Kept("processed", first),),
            (first,),
        ),
        Row(
            "resend-on-another-connection",
            (68,),
            "the same on another connection, after a reset before the answer",
            (Send(block(adt("dup2"))), Await(1), Again(), Send(block(adt("dup2")))),
            (Outcome((yes("dup2"), yes("dup2"))),),
            (Kept("processed", adt("dup2")),),
            (adt("dup2"),),
        ),
        Row(
            "id-used-again",
            (68,),
            "the same control id with another content: another message",
            (Send(block(first.replace(b"dup1", b"dup3"))), Await(1), Send(block(changed.replace(b"dup1", b"dup3")))),
            (
                Outcome((yes("dup3"), yes("dup3"))),
                as_good(yes("dup3"), no("dup3", "AE", "205")),
                as_good(yes("dup3"), no("dup3", "AR", "205")),
            ),
            (
                Kept("processed", first.replace(b"dup1", b"dup3")),
                Kept("processed", changed.replace(b"dup1", b"dup3"), ("E232",)),
            ),
            (first.replace(b"dup1", b"dup3"), changed.replace(b"dup1", b"dup3")),
        ),
        taken("no-structure", [69], "MSH-9 without its third component", adt("str1", kind=b"ADT^A08")),
        taken(
            "wrong-structure",
            [69],
            "MSH-9.3 names a structure that does not exist",
            adt("str2", kind=b"ADT^A08^ADT_A08"),
        ),
        taken(
            "no-event",
            [69],
            "MSH-9 is ORU^^ORU_R01, without an event",
            oru("str3", b"OBX|1|ST|A^A^L||x||||||F", kind=b"ORU^^ORU_R01"),
            also=[as_good(no("str3", "AR", "201")), as_good(no("str3", "AE", "201"))],
        ),
        *(
            taken(
                f"version-{short}",
                [70],
                f"MSH-12 is {version.decode() or 'empty'}: not known, and no reason to lose the message",
                adt(f"ver{short}", version=version, kind=b"ADT^A01"),
                also=[as_good(no(f"ver{short}", "AR", "203"))],
            )
            for short, version in (
                ("2.9", b"2.9"),
                ("1.0", b"1.0"),
                ("2.3.z", b"2.3.z"),
                ("none", b""),
                ("pid", b"2.3 PID"),
            )
        ),
    ]


TEXT_ROWS: tuple[Row, ...] = (
    *_text(),
    *_charsets(),
    *_sets(),
)
