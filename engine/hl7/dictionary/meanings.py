"""What the codes of the tables mean that people meet every day, in words close to the standard's.

The dictionary's source (hl7apy) has the codes of all tables and no text for any. These are of HL7 v2.5.1, appendix A;
what a later version calls otherwise is called as 2.5.1 has it. A code that is not here has no meaning here, and is none
the worse for it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def meaning(table: str, code: str) -> str:
    """What the code means, '' where that is not known."""
    of = MEANINGS.get(table)
    return "" if of is None else of.get(code, "")


def _codes(text: str) -> Mapping[str, str]:
    pairs = (line.strip().partition(" ") for line in text.strip().splitlines())
    return MappingProxyType({code: title.strip() for code, _, title in pairs})


MEANINGS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "0001": _codes("""
            A Ambiguous
            F Female
            M Male
            N Not applicable
            O Other
            U Unknown"""),
        "0002": _codes("""
            A Separated
            B Unmarried
            C Common law
            D Divorced
            E Legally separated
            G Living together
            I Interlocutory
            M Married
            N Annulled
            O Other
            P Domestic partner
            R Registered domestic partner
            S Single
            T Unreported
            U Unknown
            W Widowed"""),
        "0003": _codes("""
            A01 Admit or visit notification
            A02 Transfer a patient
            A03 Discharge, or end of visit
            A04 Register a patient
            A05 Pre-admit a patient
            A06 Change an outpatient to an inpatient
            A07 Change an inpatient to an outpatient
            A08 Update patient information
            A09 Patient departing, tracking
            A10 Patient arriving, tracking
            A11 Cancel admit or visit notification
            A12 Cancel transfer
            A13 Cancel discharge, or end of visit
            A14 Pending admit
            A15 Pending transfer
            A16 Pending discharge
            A17 Swap patients
            A18 Merge patient information
            A19 Patient query
            A20 Bed status update
            A21 Patient goes on a leave of absence
            A22 Patient returns from a leave of absence
            A23 Delete a patient record
            A24 Link patient information
            A28 Add person information
            A29 Delete person information
            A31 Update person information
            A34 Merge patient information, patient id only
            A35 Merge patient information, account number only
            A36 Merge patient information, patient id and account number
            A38 Cancel pre-admit
            A40 Merge patient, identifier list
            A41 Merge account, patient account number
            A43 Move patient information, identifier list
            A44 Move account information
            A45 Move visit information
            A47 Change the patient identifier list
            A60 Update allergy information
            O01 Order message
            O02 Order response
            O19 General clinical order
            O20 General clinical order response
            O21 Laboratory order
            O22 General laboratory order response
            O23 Imaging order
            O24 Imaging order response
            R01 Unsolicited observation
            S12 New appointment booking
            S13 Appointment rescheduling
            S14 Appointment modification
            S15 Appointment cancellation
            S17 Appointment deletion
            S26 The patient did not come to the appointment
            T01 Original document notification
            T02 Original document notification and content
            T08 Document edit notification and content
            T11 Document cancel notification"""),
        "0004": _codes("""
            B Obstetrics
            C Commercial account
            E Emergency
            I Inpatient
            N Not applicable
            O Outpatient
            P Preadmit
            R Recurring patient
            U Unknown"""),
        "0007": _codes("""
            A Accident
            C Elective
            E Emergency
            L Labor and delivery
            N Newborn
            R Routine
            U Urgent"""),
        "0008": _codes("""
            AA Application accept
            AE Application error
            AR Application reject
            CA Accept acknowledgment: commit accept
            CE Accept acknowledgment: commit error
            CR Accept acknowledgment: commit reject"""),
        "0038": _codes("""
            A Some, but not all, results available
            CA Order was canceled
            CM Order is completed
            DC Order was discontinued
            ER Error, order not found
            HD Order is on hold
            IP In process, unspecified
            RP Order has been replaced
            SC In process, scheduled"""),
        "0065": _codes("""
            A Add ordered tests to the existing specimen
            G Generated order; reflex order
            L Lab to obtain specimen from patient
            O Specimen obtained by service other than the lab
            P Pending specimen; order sent prior to delivery
            R Revised order
            S Schedule the tests specified below"""),
        "0076": _codes("""
            ACK General acknowledgment
            ADT Admit, discharge, transfer
            BAR Add or change a billing account
            DFT Detail financial transactions
            MDM Medical document management
            MFN Master files notification
            OMG General clinical order
            OMI Imaging order
            OML Laboratory order
            ORG General clinical order acknowledgment
            ORI Imaging order acknowledgment
            ORL Laboratory order response
            ORM Pharmacy or treatment order
            ORR General order response
            ORU Unsolicited transmission of an observation
            QRY Query, original mode
            RDE Pharmacy or treatment encoded order
            SIU Schedule information unsolicited"""),
        "0078": _codes("""
            < Below absolute low-off instrument scale
            > Above absolute high-off instrument scale
            A Abnormal
            AA Very abnormal
            B Better
            D Significant change down
            H Above high normal
            HH Above upper panic limits
            I Intermediate
            L Below low normal
            LL Below lower panic limits
            MS Moderately susceptible
            N Normal
            R Resistant
            S Susceptible
            U Significant change up
            VS Very susceptible
            W Worse"""),
        "0085": _codes("""
            C Record coming over is a correction and thus replaces a final result
            D Deletes the OBX record
            F Final result; can only be changed with a corrected result
            I Specimen in lab; results pending
            N Not asked
            O Order detail description only, no result
            P Preliminary result
            R Result entered, not verified
            S Partial result
            U Result status change to final without retransmitting
            W Post original as wrong
            X Results cannot be obtained for this observation"""),
        "0103": _codes("""
            D Debugging
            P Production
            T Training"""),
        "0104": _codes("""
            2.1 Release 2.1, March 1990
            2.2 Release 2.2, December 1994
            2.3 Release 2.3, March 1997
            2.3.1 Release 2.3.1, May 1999
            2.4 Release 2.4, November 2000
            2.5 Release 2.5, May 2003
            2.5.1 Release 2.5.1, January 2007"""),
        "0119": _codes("""
            AF Order or service refill request approval
            CA Cancel order or service request
            CH Child order or service
            CN Combined result
            CR Canceled as requested
            DC Discontinue order or service request
            DE Data errors
            DF Order or service refill request denied
            DR Discontinued as requested
            FU Order or service refilled, unsolicited
            HD Hold order request
            HR On hold as requested
            LI Link order or service to patient care problem or goal
            NA Number assigned
            NW New order or service
            OC Order or service canceled
            OD Order or service discontinued
            OE Order or service released
            OF Order or service refilled as requested
            OH Order or service held
            OK Order or service accepted and OK
            OR Released as requested
            PA Parent order or service
            PR Previous results with new order or service
            RE Observations or performed service to follow
            RF Refill order or service request
            RL Release previous hold
            RO Replacement order
            RP Order or service replace request
            RQ Replaced as requested
            RR Request received
            RU Replaced unsolicited
            SC Status changed
            SN Send order or service number
            SR Response to send order or service status request
            SS Send order or service status request
            UA Unable to accept order or service
            UC Unable to cancel
            UD Unable to discontinue
            UF Unable to refill
            UH Unable to put on hold
            UM Unable to replace
            UN Unlink order or service from patient care problem or goal
            UR Unable to release
            UX Unable to change
            XO Change order or service request
            XR Changed as requested
            XX Order or service changed, unsolicited"""),
        "0123": _codes("""
            A Some, but not all, results available
            C Correction to results
            F Final results
            I No results available; specimen received, procedure incomplete
            O Order received; specimen not yet received
            P Preliminary
            R Results stored; not yet verified
            S No results available; procedure scheduled, but not done
            X No results available; order canceled
            Y No order on record for this test
            Z No record of this patient"""),
        "0125": _codes("""
            AD Address
            CE Coded entry
            CF Coded element with formatted values
            CX Extended composite ID with check digit
            DT Date
            ED Encapsulated data
            FT Formatted text
            NM Numeric
            PN Person name
            RP Reference pointer
            SN Structured numeric
            ST String data
            TM Time
            TN Telephone number
            TS Time stamp
            TX Text data
            XAD Extended address
            XCN Extended composite name and number for persons
            XON Extended composite name and number for organizations
            XPN Extended person name
            XTN Extended telecommunications number"""),
        "0136": _codes("""
            N No
            Y Yes"""),
        "0155": _codes("""
            AL Always
            ER Error or reject conditions only
            NE Never
            SU Successful completion only"""),
        "0190": _codes("""
            B Firm or business
            BA Bad address
            BDL Birth delivery location
            BR Residence at birth
            C Current or temporary
            F Country of origin
            H Home
            L Legal address
            M Mailing
            N Birth
            O Office
            P Permanent
            RH Registry home"""),
        "0200": _codes("""
            A Alias name
            B Name at birth
            C Adopted name
            D Display name
            I Licensing name
            L Legal name
            M Maiden name
            N Nickname
            P Name of partner or spouse
            R Registered name
            S Coded pseudo-name, for anonymity
            T Indigenous, tribal or community name
            U Unspecified"""),
        "0201": _codes("""
            ASN Answering service number
            BPN Beeper number
            EMR Emergency number
            NET Network (e-mail) address
            ORN Other residence number
            PRN Primary residence number
            VHN Vacation home number
            WPN Work number"""),
        "0203": _codes("""
            AN Account number
            ANC Account number, creditor
            BR Birth registry number
            DL Driver's license number
            DN Doctor number
            EI Employee number
            FI Facility ID
            HC Health card number
            JHN Jurisdictional health number
            LN License number
            LR Local registry ID
            MA Patient Medicaid number
            MC Patient's Medicare number
            MR Medical record number
            NI National unique individual identifier
            NPI National provider identifier
            PI Patient internal identifier
            PN Person number
            PPN Passport number
            PRN Provider number
            PT Patient external identifier
            SS Social Security number
            U Unspecified identifier
            VN Visit number
            XX Organization identifier"""),
        "0357": _codes("""
            0 Message accepted
            100 Segment sequence error
            101 Required field missing
            102 Data type error
            103 Table value not found
            200 Unsupported message type
            201 Unsupported event code
            202 Unsupported processing id
            203 Unsupported version id
            204 Unknown key identifier
            205 Duplicate key identifier
            206 Application record locked
            207 Application internal error"""),
    }
)
"""By table and code."""
