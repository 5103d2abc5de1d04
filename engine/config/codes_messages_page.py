"""E51x and E588 to E590: what the console and the API refuse about stored messages."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

MESSAGES_PAGE: Final[Stories] = MappingProxyType(
    {
        "E510": Story(
            "a message that cannot be edited here",
            "Its bytes are no longer kept, or there are too many of them, or it holds something that a text box of a "
            "browser would change on the way: a control character, or a byte that is no character of its set. An "
            "edited message must differ where it was edited and nowhere else, so it is not given out as a text.",
            "Save it, edit the file, and send that: segmill messages SEQ --raw > m.hl7, then "
            "segmill replay SEQ --edited m.hl7.",
        ),
        "E511": Story(
            "an edited message that cannot be sent",
            "It cannot be read as HL7, or a character in it is none of its character set, or nothing in it is "
            "different. The answer names the place, and nothing of what was typed. Nothing was sent.",
            "Correct the place. For characters beyond the set of MSH-18, name another there: UNICODE UTF-8. To send "
            "the same bytes again, resend the message.",
        ),
        "E513": Story(
            "the bytes of a message are no longer kept",
            "Retention has dropped them, or they are not what they were and so are not given out. What is known of the "
            "message besides (its journey, its findings, its numbers) is kept for longer.",
            "Ask its sender for it, or restore a backup beside the engine. How long bytes are kept: retention in "
            "segmill.yaml.",
        ),
        "E588": Story(
            "a search for values is not for all",
            "A search that quotes a value of messages (a key, a text, a path) may name a patient. Saved for all, it "
            "would tell that value to all who use the console, for as long as nobody drops it. So what is for all "
            "has channel, state, since, until, type, sender and control alone.",
            "Save it for yourself, or take the value off. What several people look for by its kind, not by its value, "
            "can be a declared key: keys in segmill.yaml.",
        ),
        "E589": Story(
            "a support bundle is being made",
            "One is made at a time: it reads the store through, and asks the engine for all that it says of itself.",
            "Wait until it is there: the page System, Support bundle says how far it is.",
        ),
        "E590": Story(
            "no support bundle can be made here",
            "The engine was not started by segmill run, so what makes bundles is not there.",
            "On the engine's machine: segmill support-bundle.",
        ),
        "E512": Story(
            "a search that is not kept any more",
            "A search for values stands in no address: the page's address names it by a random word, which the engine "
            "remembers for the session that asked. The session has ended, the engine was restarted, or the address is "
            "somebody else's.",
            "Search again. An address without values (channel, state, since, until, type, sender, control) is good for "
            "ever and for everybody who may see it.",
        ),
    }
)
