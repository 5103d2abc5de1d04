"""E2xx and W2xx: what becomes of a message in a channel, and what the store found."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

_RELEASE = (
    "Correct the cause. After a change of a channel, table or steps.py: segmill reload. "
    "Then: segmill release SEQ, and the message goes through the channel as it is then."
)

RUNTIME: Final[Stories] = MappingProxyType(
    {
        "E201": Story(
            "a step failed",
            "The step raised an error that says nothing of the message's content on purpose, so that no patient "
            "data gets into findings and logs. The message is held; its sender was told that we have it, unless "
            "the channel says ack: {when_held: AE}. Own code (python) is refused what a step has no business with: to "
            "write, move or delete files, temporary ones among them, to use the network, to start programs. Each such "
            "call raises PermissionError, or what a library makes of it: URLError, or FileNotFoundError of tempfile.",
            "See it happen with 'segmill try' on the stored message. What own code may not do is another's work: a "
            "destination writes files and speaks to the network, a table file brings what is looked up, io.BytesIO "
            f"stands in for a temporary file. {_RELEASE}",
        ),
        "E202": Story(
            "the edited message cannot be written",
            "What the steps wrote has characters that the message's character set (MSH-18) does not have.",
            "Give the destination charset: UNICODE UTF-8, where the receiver reads it, or replace the characters. "
            + _RELEASE,
        ),
        "E203": Story(
            "a step cannot write a value where it was told to",
            "The place does not exist and cannot be made, or the value does not fit there: the finding names the path.",
            f"Correct the path in the step, or guard the step with a 'when'. {_RELEASE}",
        ),
        "E204": Story(
            "a message with more to go over than its steps may",
            "Steps run on the one loop that all channels share, so what a message costs there is counted, and has a "
            "bound: some hundred thousand segments gone over by 'each', or places that a '*' stands for. The count is "
            "of the message and the steps alone, so it is the same on every machine.",
            "Where such messages are to be expected, give the channel a process of its own, with a deadline instead: "
            "isolate: process. Where they are not, ask their sender what they are. " + _RELEASE,
        ),
        "E210": Story(
            "a required field is missing",
            "A validate step asks for a value at this place, and the message has none.",
            "The sender must send it, or the rule is too strict. A held message goes on after a change of the rule, a "
            "new start of the engine, and: segmill release SEQ.",
        ),
        "E211": Story(
            "a value of the wrong form",
            "The value at this place does not match the pattern of a validate step.",
            "The sender must correct it, or the pattern is too strict.",
        ),
        "E212": Story(
            "a value that is not allowed",
            "The value at this place is not among those that a validate step lists, or not a key of its code table.",
            "Add it to the list or table, or have the sender correct it.",
        ),
        "E213": Story(
            "a value that is too long or too short",
            "The value at this place has more or fewer characters than a validate step allows.",
            "The sender must correct it, or the rule is too strict.",
        ),
        "E214": Story(
            "no row in a code table",
            "A map step looked the value of this place up in a code table, and no row has it as its key. Case and "
            "blanks count. The message is held or rejected, as the step's 'otherwise' says.",
            "Add the row to the table. " + _RELEASE,
        ),
        "E216": Story(
            "held by the channel's own code",
            "A function in the channel's Python file raised Hold; the reason is the function's.",
            _RELEASE,
        ),
        "E217": Story(
            "rejected by the channel's own code",
            "A function in the channel's Python file raised Reject. The sender was told, and keeps the message.",
            "The reason is the function's; the sender must correct the message and send it again.",
        ),
        "E218": Story(
            "the channel's own code returned something",
            "A step's function edits the message it is given and returns nothing. What it returned is not known to "
            "be meant for anything, so the message is held.",
            "Remove the return, or raise Hold, Reject or Filter. " + _RELEASE,
        ),
        "E220": Story(
            "the channel's own code took too long",
            "The channel's process used more processor time for the message than deadline allows, or was not done "
            "within timeout by the clock: workers of segmill.yaml, isolate of the channel, or deadline of the step. "
            "Its process was ended, the message was tried once more in a new one, and is held. A busy machine alone "
            "does not do that, as waiting for a processor uses none.",
            "Find what loops or waits: segmill try CHANNEL FILE. " + _RELEASE,
        ),
        "E221": Story(
            "the process of the channel's own code ended",
            "It crashed, used more memory than allowed, or answered with more than is read. The message was tried "
            "once more, and is held.",
            "Run the message with 'segmill try'. " + _RELEASE,
        ),
        "E223": Story(
            "more came of a message than may",
            "What the steps made of the message is longer, for all its destinations together, than output of workers, "
            "or of the channel's isolate, allows. The message is held.",
            "Find what grows: segmill try CHANNEL FILE. Where so much is right, raise output. " + _RELEASE,
        ),
        "E222": Story(
            "the channel's own code does not load",
            "The worker process cannot be started with the channel's Python files.",
            "The finding names the line; 'segmill try CHANNEL FILE' shows it too. " + _RELEASE,
        ),
        "E230": Story(
            "a message longer than the port takes",
            "The port's max_message is smaller. The sender was refused with code 207; the start of the message is "
            "kept, so that somebody can see who sends it.",
            "Raise max_message of the channel's listen, where such messages are to be expected.",
        ),
        "E231": Story(
            "a message without a control id",
            "MSH-10 is required by every version of HL7. Without it no answer can be matched and no resend be "
            "recognised.",
            "The sender must fill MSH-10 with an id that it never uses twice.",
        ),
        "E232": Story(
            "a control id used twice for different messages",
            "This sender has sent another message with the same MSH-10 before, within the channel's duplicates "
            "window. It is not the same message again, so it was processed.",
            "The sender must not use an id twice: a real resend could not be told from a new message for sure.",
        ),
        "W232": Story(
            "a sender starts its control ids again",
            "Several messages of this sender had a control id (MSH-10) that it used before within the duplicates "
            "window, with other content: most likely its counter was restarted. Each is processed and delivered, as it "
            "is another message. Three in an hour are marked with E232, then this one; the others of the hour are only "
            "counted, in segmill_findings_total with code E232.",
            "Nothing, if the sender was restarted. If it gives the same control id to different messages all the time, "
            "its maker should mend that: an answer then does not say which message it is for.",
        ),
        "E233": Story(
            "a message that cannot be read",
            "There is no MSH segment, or it does not say what separates the fields. The sender was answered with a "
            "rejection, and the bytes are kept.",
            "Look at the bytes: segmill messages. Something that is not HL7 v2 talks to this port, or the sender "
            "cuts messages apart.",
        ),
        "E234": Story(
            "a message type that no channel of the port takes",
            "MSH-9.1 is in no 'accept' of the channels that listen on the port. The sender was refused with code 200.",
            "Add the type to 'accept' of a channel, or have the sender send less.",
        ),
        "E235": Story(
            "a trigger event that no channel of the port takes",
            "The type is known here, the event (MSH-9.2) is not. The sender was refused with code 201.",
            "Add it to 'accept', such as ADT^A31 or ADT^*.",
        ),
        "E236": Story(
            "a sender that no channel of the port takes",
            "Type and event are accepted, and the 'from' of every such channel is false for this message.",
            "Compare MSH-3 and MSH-4 of the message with the 'from' of the channels.",
        ),
        "E237": Story(
            "a message that could not be stored",
            "The store is full, or busy for too long. Nothing was kept, the sender was told so (or the connection "
            "was closed, by ack: {on_store_failure}), and sends the message again.",
            "Make room on the disk, or see what blocks the store; the engine goes on by itself.",
        ),
        "E240": Story(
            "a file without a message",
            "A file that a file source took is empty, or holds blanks alone. It stands in failed/ of the folder.",
            "See why its sender writes empty files; a sender that makes the file first and fills it later should write "
            "it under a temporary name, or beyond 'stable'.",
        ),
        "E241": Story(
            "a file longer than the source takes",
            "The file source's max_file is smaller. The file was not read, and stands in failed/ of the folder.",
            "Raise max_file where such files are to be expected, and move the file back into the folder.",
        ),
        "E242": Story(
            "a batch file that was cut short",
            "The file begins with FHS or BHS and does not end with FTS or BTS, or a BTS-1 counts other than there are "
            "messages. Nothing of it was taken, as the rest may be missing. It stands in failed/ of the folder.",
            "Have the sender write it again. For senders that never write trailers: trailer: optional.",
        ),
        "E243": Story(
            "a file that cannot be read",
            "What was taken out of the folder is no regular file, or the engine's user may not read it. It stands in "
            "failed/ of the folder.",
            "Give the engine's user the right to read the sender's files. Links are never followed.",
        ),
        "E244": Story(
            "a message of a file that the engine failed at",
            "A defect of the engine, not of the message. Nothing is known to be kept of it.",
            "Tell the makers with what the log says; move the file back into the folder to try again.",
        ),
        "E260": Story(
            "a message in fragments that was not completed",
            "Fragments of a message came (DSC, MSH-14), each was accepted, and the next did not come within "
            "fragments: {dsc: {timeout: ...}}, or its sender began another message with the same continuation pointer. "
            "What came is one held message, as far as it goes.",
            "Ask the sender for the whole message, then: segmill release SEQ --discard REASON. Released without "
            "that, the message goes through the channel with what it has.",
        ),
        "E261": Story(
            "a fragment that goes on with no unfinished message",
            "MSH-14 holds a continuation pointer that none of this sender's unfinished messages ends in: a fragment "
            "before it was never sent, was refused, or came too long ago. By fragments: {dsc: {unknown: ...}} it was "
            "refused with code 204, or is held.",
            "The sender must send the message again from its first fragment.",
        ),
        "E262": Story(
            "a fragment that does not fit",
            "All fragments of a message have the same delimiters (MSH-1, MSH-2) and the same MSH-18, and one that ends "
            "in a bare ADD is followed by one that begins with ADD. Or it was kept, and cannot be joined any more: "
            "its bytes are damaged, or the channel's files changed.",
            "The sender must send the message again. What is held of it can be discarded.",
        ),
        "E263": Story(
            "more fragments than the channel takes",
            "Bounds keep a sender that never ends its messages from filling the store: fragments and bytes of one "
            "message, and unfinished messages of one sender.",
            "Raise the bound under fragments: {dsc: ...}, where such messages are to be expected.",
        ),
        "E264": Story(
            "a batch that was refused for its count",
            "BTS-1 or FTS-1 does not say how many messages or batches there are, and the port has "
            "batch: {count: reject}. Each message it counts was refused, and is kept as rejected.",
            "The sender must correct the count: something may have been lost between it and us.",
        ),
        "I240": Story(
            "discarded by a person",
            "Somebody gave the message up (segmill release --discard), for the reason that stands here.",
            "Nothing.",
        ),
        "I260": Story(
            "a message that was joined from fragments",
            "It came in parts (DSC, MSH-14), which are in the store beside it, in state joined.",
            "Nothing.",
        ),
        "E238": Story(
            "a destination that did not answer in time",
            "The channel answers its senders with what a destination says (ack: {when: delivered(x)}), and it said "
            "nothing within ack: {timeout}. The sender was told so. The message is kept, and its delivery goes on; "
            "when the sender sends it again, it is not processed again, and gets the destination's answer.",
            "See why the destination is slow or down: segmill messages, and the lane in segmill's metrics. Raise the "
            "timeout, where the destination needs longer and the sender waits longer.",
        ),
        "E598": Story(
            "an answer to a resend that could not be recorded",
            "A message was sent again whose answer was still due: the destination that it waited for had ended it "
            "while nobody waited, or the channel's files say otherwise now. The answer would have been a yes, and for "
            "half a second the store was full, or busy, and took no record of it. A yes that is not on record may be "
            "followed by another answer, so the sender was told what ack: {on_store_failure} says. The message itself "
            "is kept, and its deliveries go on.",
            "Make room on the store's disk, or end what locks the store: the next resend is answered. Until then each "
            "is counted in segmill_findings_total with code E598.",
        ),
        "E239": Story(
            "a sequence number out of turn",
            "The channel says sequence: on, the sender numbers its messages in MSH-13, and this is not the number "
            "that is due: a message before it is missing, or was sent twice. It was refused, with the number that "
            "was expected in MSA-4.",
            "A person at the sender looks for what is missing. MSH-13 -1 starts the link anew.",
        ),
        "W239": Story(
            "a message of the sequence number protocol",
            "MSH-13 is 0, by which a sender asks which number is due, or -1, by which it starts its numbers anew. It "
            "was answered, and there is nothing to process.",
            "Nothing.",
        ),
        "I241": Story(
            "edited by a person",
            "A person changed a stored message and sent the changed one (segmill replay SEQ --edited FILE). It is a "
            "message of its own, was not received from a sender, and is linked to the one it was made of.",
            "Nothing. 'segmill messages SEQ' shows the links both ways, 'segmill audit' who did it and why.",
        ),
        "E249": Story(
            "the channel's intake is paused",
            "A person paused the intake of this channel (segmill queue pause CHANNEL --intake). Senders are told AR "
            "or CE with 207 and keep their messages. What was stored before is answered as it was; deliveries go on.",
            "When the reason is gone: segmill queue resume CHANNEL --intake.",
        ),
        "E250": Story(
            "stored bytes that do not match their checksum",
            "The disk, or something else that wrote to the store's file, changed a message after it was committed. "
            "It is held and is not delivered, as it may not be what was sent. Where the text is that what is stored "
            "about it does not match, its bytes are whole, and what stands beside them is not to be trusted: sender, "
            "control id, answer, findings, state or times. What its sender sends again with that control id is "
            "processed as new.",
            "Compare it with the sender's copy; restore the store from a backup; check the disk.",
        ),
        "E251": Story(
            "a destination's lane failed, by a defect of Segmill",
            "What sends to one destination ended with an error that nobody expected. All others go on; what comes for "
            "this one waits in the store, in order. It is started again by itself after 1 s, and after 5 s, 30 s, "
            "2 min and 10 min if it fails again; then it stands still until the engine is started again. What it was "
            "sending is sent once more each time, with the same control id, and marked as possibly sent before.",
            "Report the line of the log: it names the place, and no patient data. If one message is the cause, hold "
            "it: segmill queue list names the head, segmill queue hold N sets it aside.",
        ),
        "E271": Story(
            "a destination's character set does not have what the message holds",
            "The destination says charset: ..., and the message has a character that this set lacks, bytes that are "
            "no characters at all, or a switch to a set that is not known here; the finding names the first place. "
            "The message is held with all of its deliveries, so that a release sends none of them twice.",
            "Give the destination a set that has the character (UNICODE UTF-8 has all), or say what becomes of it: "
            "unencodable: escape, or replace(?). " + _RELEASE,
            "charset: 8859/1      # and a name such as Łukasz",
        ),
        "E272": Story(
            "text that is not in the declared character set, at a strict channel",
            "The channel says charset: {strict: true}. MSH-18 is empty or names one set, and the bytes are not valid "
            "in it, nor UTF-8; or MSH-18 names a set that is not known here. The sender was told AE with 103 at "
            "MSH-18, and keeps the message.",
            "Have the sender correct MSH-18 or what it writes. Without strict the message is read with the fallback "
            "and a warning.",
            "charset: {strict: true}",
        ),
        "W201": Story(
            "filtered on purpose",
            "The condition of a filter step was not true of the message. The sender was told that we have it; it "
            "goes no further.",
            "Nothing, where that is meant. Otherwise see why: segmill try CHANNEL FILE.",
        ),
        "W202": Story(
            "no route took the message",
            "Every route has a 'when', and none was true of the message. It is kept and goes nowhere.",
            "Add a route without 'when', or a filter step that says it is meant.",
        ),
        "W203": Story(
            "filtered by the channel's own code",
            "A function in the channel's Python file raised Filter.",
            "Nothing, where that is meant.",
        ),
        "W204": Story(
            "no row in a code table, and the message went on",
            "As E214, with otherwise: keep or default(...) in the step.",
            "Add the row, if the value is a code that will come again.",
        ),
        "W271": Story(
            "characters went to a destination as hexadecimal escapes",
            "The destination says charset: ... and unencodable: escape. Characters that this set does not have were "
            "written as \\X..\\ with the bytes of UTF-8; the finding counts them and names the first place.",
            "Nothing, if the receiver reads such escapes. Better, give it UNICODE UTF-8.",
        ),
        "W272": Story(
            "characters were replaced for a destination",
            "The destination says charset: ... and unencodable: replace(...). The finding counts the characters that "
            "this set does not have and names the first place. The message as it came is in the store.",
            "Nothing, if the receiver can live with it. Better, give it UNICODE UTF-8.",
        ),
    }
)
