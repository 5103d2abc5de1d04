"""E4xx and W4xx: what keeps an order off the worklist, and what was odd about one that is on it."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

WORKLIST: Final[Stories] = MappingProxyType(
    {
        "E410": Story(
            "an order control that no row knows",
            "ORC-1, alone or together with ORC-5, says nothing that the worklist has a rule for. Nothing was changed.",
            "Give the pair a row under controls of the worklist destination, such as NW_SC: create, or keep such "
            "messages away from it with the route's when.",
            "controls: {NW_XY: create}",
        ),
        "E411": Story(
            "a cancel of an order that is not there",
            "The cancel's numbers are of no order on this worklist, and the destination says unknown_cancel: refuse.",
            "See whether the order came at all. With unknown_cancel: warn the cancel is remembered instead, and an "
            "order that comes after it makes no item.",
        ),
        "E412": Story(
            "the patient's identifier was merged into another",
            "An ADT message said that this identifier is no longer in use, an order still comes with it, and the "
            "destination says merged: refuse.",
            "Have the sender use the identifier that is left. With merged: follow such orders are taken for it.",
        ),
        "E413": Story(
            "an order whose numbers belong to different orders",
            "Its placer, filler, accession numbers and its study point at different items of the worklist. It cannot "
            "be told which one is meant, so nothing was changed.",
            "Look at the items with segmill worklist list, and have the sender correct the numbers.",
        ),
        "E414": Story(
            "an order's number that belongs to another patient",
            "A number of the order is already in use by an order of another patient. No item was made or changed, as "
            "one of the two would be done with the wrong patient.",
            "Ask the sender which patient is meant. If the two are one person, send the merge (ADT^A40) first.",
        ),
        "E415": Story(
            "an order of another patient",
            "The order is on the worklist for another patient than the message names, and no merge links the two. "
            "Nothing was changed.",
            "Ask the sender which patient is meant. If the two are one person, send the merge (ADT^A40) first, and "
            "then release this message.",
        ),
        "E416": Story(
            "a merge or move that does not say of what",
            "MRG, or the field of it that names the identifier, visit or account, is missing.",
            "Have the sender fill MRG-1, of a move of a visit MRG-5, of an account MRG-3.",
        ),
        "E417": Story(
            "a patient merged with itself",
            "PID-3 and MRG-1 hold the same identifier. Nothing was changed.",
            "Have the sender correct the message.",
        ),
        "E418": Story(
            "a merge the other way round",
            "An earlier message merged these two identifiers with the roles exchanged. Both at once cannot be.",
            "Ask the sender which identifier is left. It can be that the earlier merge was wrong; then the two must be "
            "put right by hand.",
        ),
        "E419": Story(
            "a new identifier that a patient has already",
            "A change of identifier (A47 and its kin) names an identifier under which there is a patient already. "
            "Only a merge may bring two together.",
            "Ask the sender whether a merge (A40) is meant.",
        ),
        "E420": Story(
            "an identifier that is too long for DICOM",
            "DICOM has room for 16 or 64 characters there, and an identifier that is cut is another identifier. No "
            "item was made.",
            "Have the sender shorten it, or give the row another source under map of the worklist destination. Of "
            "accession numbers, procedures' and steps' ids the destination may make one that fits, and still knows the "
            "one that was ordered.",
            "too_long: {AccessionNumber: {strip_prefix: [RIS2026-], hash16: true}}",
        ),
        "E430": Story(
            "an order message without an order",
            "There is neither ORC nor OBR in the message.",
            "Have the sender correct it.",
        ),
        "E431": Story(
            "a patient without a name",
            "PID-5 is empty, and DICOM asks for a name in every worklist item.",
            "Have the sender fill PID-5; for unknown patients with what the site has agreed on.",
        ),
        "E432": Story(
            "an order without a number",
            "A cancel, or another change, carries neither a Study Instance UID nor a placer, filler or accession "
            "number, so that its item cannot be found.",
            "Have the sender fill ORC-2 or ORC-3, or say under map where the number stands.",
        ),
        "E433": Story(
            "an order without an id of its procedure",
            "There is neither a requested procedure id nor an accession number, and an item needs one to be told from "
            "others of its study.",
            "Say under map of the worklist destination where the feed has it, such as RequestedProcedureID: [OBR-2].",
            "map: {AccessionNumber: [OBR-3]}",
        ),
        "E434": Story(
            "a Study Instance UID that is none",
            "A UID has digits and dots, at most 64 of them, and no leading zeros. Often there are braces around it, or "
            "more than the UID stands in the component.",
            "Have the sender correct ZDS-1 or IPC-3, or give StudyInstanceUID another source under map.",
        ),
        "E435": Story(
            "an order from which no Study Instance UID can be derived",
            "It brings none, and it has neither an accession number nor a requested procedure id to derive one from.",
            "Say under map where the feed has its accession number.",
        ),
        "E436": Story(
            "an order without a Study Instance UID",
            "It brings none in ZDS-1 or IPC-3, and study_uid of the worklist destination does not allow to derive one.",
            "Have the sender send it, or write study_uid: [ZDS-1, generate].",
        ),
        "E437": Story(
            "an order that does not say what is to be done",
            "Neither a description nor a code of the procedure was found, and DICOM asks for one of them.",
            "Say under map where the feed has it, such as RequestedProcedureDescription: [OBR-13].",
        ),
        "E438": Story(
            "a modality that no map knows",
            "OBR-24 or IPC-5 holds a code that is neither a modality of DICOM nor in modalities of the worklist "
            "destination.",
            "Give it a row there. The code is shown by segmill try.",
            "modalities: {RAD: DX}",
        ),
        "E439": Story(
            "an order without a modality",
            "OBR-24 or IPC-5 is empty, and no scanner would see the item.",
            "Say under map where the feed has it, such as Modality: [OBR-4.1], with modalities for its codes.",
        ),
        "E440": Story(
            "a station that is no AE title",
            "An AE title has at most 16 characters of ASCII and no backslash.",
            "Correct IPC-9, or the row of map or station that gave it.",
        ),
        "E441": Story(
            "a step without a station",
            "No rule under station names a machine for it, and the destination says without_station: refuse.",
            "Add a rule; a last one without conditions is for all that is left.",
        ),
        "E442": Story(
            "a start that is no time",
            "The field that says when holds no date.",
            "Have the sender correct it, or give ScheduledProcedureStepStartDate another source under map.",
        ),
        "E443": Story(
            "an order that does not say when",
            "None of the fields for the start is filled, and the destination says without_start: refuse.",
            "Have the sender fill TQ1-7 or ORC-7.4. With without_start: received the time of the message is taken.",
        ),
        "E444": Story(
            "a patient without an identifier",
            "PID-3 is empty, or has no identifier of the authority that the destination names.",
            "Compare authority of the worklist destination with PID-3.4 of the message, and ask the sender.",
        ),
        "E445": Story(
            "an item that cannot be written as DICOM",
            "A value is against the rules of its DICOM attribute, which the finding names. An item like it would end "
            "a scanner's whole list, so it is refused when it comes.",
            "Correct the field that the attribute is made from, or give it another source under map.",
        ),
        "E446": Story(
            "a delivery that is nothing for a worklist",
            "What waits for the worklist was written for a destination of another kind; it was redirected to it, or "
            "the destination has become a worklist since.",
            "Process the message again: segmill replay makes of it what a worklist takes.",
        ),
        "E447": Story(
            "a message type that is nothing for a worklist",
            "A worklist takes orders (ORM^O01, OMG^O19, OMI^O23) and ADT. The channel's routes gave it something else.",
            "Give the route a condition.",
            'when: MSH-9.1 in ["ORM", "OMG", "OMI", "ADT"]',
        ),
        "E448": Story(
            "the status of steps has nowhere to go",
            "dicom.status names a destination that is not there: in the files, or among what runs since the last "
            "reload. While the engine runs such messages are held, and the steps are moved all the same.",
            "Name a channel and one of its destinations, as channel/destination, and release what is held.",
            "dicom: {status: {to: orders/ris}}",
        ),
        "E449": Story(
            "the status of steps would come back",
            "dicom.status names a worklist destination, or one that connects to a channel of this site that feeds the "
            "same worklist: the engine would tell itself.",
            "Name the destination that reaches the ordering system.",
            "dicom: {status: {to: orders/ris}}",
        ),
        "I448": Story(
            "the status of a worklist step",
            "A scanner or a person moved a step, and dicom.status says who is told. The engine made this message; no "
            "sender sent it. It goes to its destination past the channel's steps and routes.",
            "Nothing.",
        ),
        "E450": Story(
            "an order whose text is not in the character set that it names",
            "Its bytes are not valid in the set of MSH-18, or that set is one that cannot be read here, so that names "
            "could only be guessed. No item was made. Text that is valid UTF-8 is taken as such, with W302, but where "
            "the channel says charset: {strict: true}.",
            "Have the sender write in MSH-18 what it writes in: segmill try shows how a message was read.",
        ),
        "E451": Story(
            "a hand-off that goes to nobody, or to several",
            "Each entry under hand_offs hands one worklist over to one place: a folder, an Orthanc or a dcm4chee.",
            "Name one of them; make an entry of its own for each.",
            "folder: {path: /srv/worklist, titles: [SEGMILL]}",
        ),
        "E452": Story(
            "an AE title that wlmscpfs has no folder for",
            "wlmscpfs looks for files in a folder with the AE title that it is called by. It takes letters, digits, "
            "blanks and -:@_ in it, up to 16 of them.",
            "Call it by such a title.",
            "titles: [SEGMILL]",
        ),
        "E453": Story(
            "two hand-offs that write into one folder",
            "Each removes what scanners are not to see any more; the one would look at what is the other's.",
            "Give each a folder of its own.",
            "path: /srv/worklist-main",
        ),
        "E454": Story(
            "an order message with another PID",
            "Orders of two patients in one message, or results from before with their own PID: an order message is "
            "of one patient, so whose the orders behind the second PID are cannot be told. No item was made.",
            "Have the sender write a message for each patient, without results from before (OMG, OMI).",
        ),
        "E455": Story(
            "a patient's identifier that DICOM cannot hold",
            "A backslash separates values in DICOM, and a control character is none of its characters. Written in "
            "another way it would be the identifier of another patient, so no item was made.",
            "Have the sender correct PID-3, or choose another of its identifiers with authority.",
        ),
        "E456": Story(
            "two orders of one step, of different modalities",
            "Orders of a message that share study and step id are one step, done with several protocols. Of two "
            "modalities they are two examinations, and one of them would be lost.",
            "Have the sender give each its own step id (OBR-20, IPC-4).",
        ),
        "E457": Story(
            "two identifiers that DICOM would have as one",
            "An accession number, a procedure's or a step's id was made short by too_long, or has a backslash, which "
            "DICOM has as /, and comes to what another order has already. Scanners could not tell the two; nothing was "
            "changed.",
            "See both orders (segmill worklist list), and give one of them another identifier; or choose under "
            "too_long a way that keeps them apart, such as hash16: true without strip_prefix.",
            "too_long: {AccessionNumber: {hash16: true}}",
        ),
        "W420": Story(
            "a step that has ended, or cannot go back",
            "The message would move a step that is completed, discontinued or cancelled, or one that a scanner has "
            "begun. It stays as it is.",
            "Nothing, where the message was late. reopen: true lets a newer change bring a cancelled one back.",
        ),
        "W421": Story(
            "an older message than the item",
            "The item was last changed by a message that is newer (ORC-9, else MSH-7). Nothing was changed.",
            "Nothing; messages that overtake each other are put right by this.",
        ),
        "W422": Story(
            "an order that was cancelled before it came",
            "Its cancel came first and was remembered. No item was made.",
            "Nothing; or send the order anew under another number, if it is wanted after all.",
        ),
        "W423": Story(
            "a change that became a new item",
            "The new order was lost, or was sent before this engine listened. The item was made from the change.",
            "Nothing; where it happens often, ask the sender for what is missing.",
        ),
        "W424": Story(
            "a new order for a step that is there",
            "A second new order has the same study and step, and other content. The item was updated.",
            "Nothing; a sender that changes orders so should send XO.",
        ),
        "W425": Story(
            "a cancel that is remembered",
            "It is remembered, so that the order makes no item if it comes later.",
            "Nothing; where it happens often, see whether orders are lost.",
        ),
        "W426": Story(
            "a change of status of an order that is not there",
            "Its numbers are of no order on the worklist. Nothing was changed.",
            "Nothing; where it happens often, see whether orders are lost.",
        ),
        "W427": Story(
            "older demographics than those that are known",
            "A newer message has already said how the patient is described. Nothing was changed.",
            "Nothing.",
        ),
        "W428": Story(
            "a deleted patient or visit with open items",
            "Its items stay on the worklist, as the destination says on_delete: warn.",
            "Cancel them in the ordering system, or write on_delete: cancel.",
        ),
        "W429": Story(
            "a text that was shortened",
            "A name or a description has more characters than DICOM has room for. Identifiers are never cut.",
            "Nothing; or shorten it with a set step in a way that reads better.",
        ),
        "W430": Story(
            "a step that no scanner sees as its own",
            "No rule names a machine for it. Scanners that ask for their own list do not see it.",
            "Add a rule under station of the worklist destination.",
        ),
        "W431": Story(
            "a start that was taken from the message",
            "None of the fields for the start is filled; the time of the message was taken.",
            "Have the sender fill TQ1-7 or ORC-7.4, or give ScheduledProcedureStepStartDate another source.",
        ),
        "W432": Story(
            "a start without a time",
            "The order says the day alone; 00:00 was taken.",
            "Nothing; scanners ask for a day.",
        ),
        "W433": Story(
            "a date of birth that is none",
            "PID-7 holds no date; the item has none.",
            "Have the sender correct it.",
        ),
        "W436": Story(
            "a merge whose old identifier names no authority",
            "MRG-1 holds a bare number, and a patient is a number with its assigning authority. That of PID-3 was "
            "taken: both are of one domain.",
            "Have the sender fill MRG-1.4.",
        ),
        "W434": Story(
            "a name that was to be deleted",
            "PID-5 of an ADT message is HL7's null (\"\"). A step must have a patient's name, so the known one stays.",
            "Nothing, or have the sender send the name that is right.",
        ),
        "W435": Story(
            "a step that goes on under another Study Instance UID",
            "The order brings another UID than the step had, of the same numbers, procedure and step. The step has the "
            "order's UID from now on; the old one is gone, so that the step is not on the worklist twice.",
            "Nothing where the step was not begun. Where it was, its images have the old UID: have them put right.",
        ),
        "W438": Story(
            "steps of a patient's number that nobody is said to have assigned",
            "An ADT message has a number with its assigning authority, and orders came with the number alone. They "
            "may be of another patient, so the message changes nothing of their steps: no name, no merge.",
            "Have the orders' sender fill PID-3.4, or let a step of its channel do so: set: {PID-3.4: NORTH}.",
        ),
        "W437": Story(
            "a step that a change of its order does not name",
            "A change (XO, RP, RU, XX) names the steps of its study as they are from now on. One that nobody has "
            "begun, and that it does not name, was taken off the worklist.",
            "Nothing where the order has fewer steps now. A sender that tells of one step a message would lose the "
            "others: let its changes be of the steps that they name, and no more.",
            "controls: {XO_SC: create}",
        ),
        "W439": Story(
            "a visit that moved, and no step that names it",
            "A visit or account goes to another patient (A43, A44, A45). The patient who loses it has open steps, and "
            "none says that it is of that visit; they stay with that patient.",
            "Look at the patient's steps with segmill worklist list. A step's visit is PV1-19, or else PID-18, unless "
            "map says another source of AdmissionID.",
        ),
        "W440": Story(
            "a hand-off of a worklist that nothing feeds",
            "No channel has a worklist destination of that name, so nothing is ever handed over.",
            "Correct the name, or make a worklist destination with it.",
            "worklist: main",
        ),
        "W441": Story(
            "a step that was not taken over",
            "The one who takes steps over answered that this one cannot be taken, or failed on it. All others go on, "
            "and this one is tried again, first after seconds and later once an hour, and at once when it changes.",
            "segmill worklist hand-offs has the last reason; the log of the other side has more. A dcm4chee that does "
            "not know the patient takes no step of theirs unless it may be created (patients: create).",
        ),
        "W442": Story(
            "a station's AE title that cannot be the name of a folder",
            "With by_station each station has a folder of its own. The title of this step's station has characters "
            "that wlmscpfs does not take, such as a dot or a slash; the step is in no folder.",
            "Give the station an AE title of letters, digits, blanks and -:@_ in the stations of the destination.",
        ),
        "W443": Story(
            "scanners that ask for a worklist that nothing feeds",
            "Channels feed worklists, and none of them has the name that the site's dicom says. Every scanner's list "
            "is empty.",
            "Give dicom and a channel's worklist destination the same name; without one it is main for both.",
            "worklist: main",
        ),
    }
)
