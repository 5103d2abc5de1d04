"""Writes the dashboards beside this file: `python deploy/grafana/build.py`. Change them here, not in the JSON.

A panel is a title, what it shows in PromQL with a legend each, a unit of Grafana's, and one sentence on how to read it.
`$channel` and `$destination` are chosen at the top of a dashboard; `$__rate_interval` is Grafana's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "dashboards"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
HEIGHT: Final = 8
RED_ABOVE_ZERO: Final = ((None, "green"), (1, "red"))


@dataclass(frozen=True)
class Panel:
    """`kind`: timeseries, stat or table. `targets`: (PromQL, legend). `steps`: colours from these values on."""

    title: str
    targets: Sequence[tuple[str, str]]
    unit: str
    reads: str
    kind: str = "timeseries"
    width: int = 8
    steps: Sequence[tuple[float | None, str]] = ()
    stacked: bool = False


@dataclass(frozen=True)
class Dashboard:
    """`choices`: names of variables, each with the metric whose label of that name gives the choices."""

    uid: str
    title: str
    reads: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    choices: Sequence[tuple[str, str]] = ()


ME: Final = 'instance=~"$instance"'
CHANNEL: Final = ME + ', channel=~"$channel"'
LANE: Final = CHANNEL + ', destination=~"$destination"'


def quantile(share: float, metric: str, labels: str, by: str) -> str:
    buckets = f"sum by ({by}, le) (rate({metric}_bucket{{{labels}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


OVERVIEW = Dashboard(
    "segmill-overview",
    "Segmill / Overview",
    "What must be looked at first, and how much goes through.",
    [
        (
            "Attention",
            [
                Panel(
                    "Engines that take messages",
                    [(f"sum(segmill_ready{{{ME}}})", "ready")],
                    "none",
                    "Fewer than you run: /readyz of the others says why.",
                    "stat",
                    3,
                    ((None, "red"), (1, "green")),
                ),
                Panel(
                    "Destinations down",
                    [(f"count(segmill_destination_connected{{{ME}}} == 0) or vector(0)", "down")],
                    "none",
                    "Their messages wait in order.",
                    "stat",
                    3,
                    RED_ABOVE_ZERO,
                ),
                Panel(
                    "Held for a person",
                    [(f'sum(segmill_queue_depth{{{ME}, state="held"}}) or vector(0)', "held")],
                    "none",
                    "segmill messages --state held",
                    "stat",
                    3,
                    RED_ABOVE_ZERO,
                ),
                Panel(
                    "Oldest that waits",
                    [(f"max(segmill_queue_oldest_seconds{{{ME}}})", "age")],
                    "s",
                    "Of all destinations, also those outside of their hours.",
                    "stat",
                    3,
                    ((None, "green"), (60, "orange"), (600, "red")),
                ),
                Panel(
                    "Silent feeds",
                    [(f"sum(segmill_silent_feeds{{{ME}}})", "silent")],
                    "none",
                    "By what is usual at this weekday and hour: segmill senders --feeds",
                    "stat",
                    3,
                    ((None, "green"), (1, "orange")),
                ),
                Panel(
                    "Paused by a person",
                    [(f"sum(segmill_queue_paused{{{ME}}}) + sum(segmill_intake_paused{{{ME}}})", "paused")],
                    "none",
                    "segmill queue list says who and why.",
                    "stat",
                    3,
                    ((None, "green"), (1, "orange")),
                ),
                Panel(
                    "Next certificate ends in",
                    [(f"min(segmill_certificate_not_after_timestamp_seconds{{{ME}}} - time())", "left")],
                    "s",
                    "Put the renewed files in place, then segmill reload.",
                    "stat",
                    6,
                    ((None, "red"), (3 * 86_400, "orange"), (21 * 86_400, "green")),
                ),
                Panel(
                    "Wait for their TLS files",
                    [(f"sum(segmill_tls_files_unusable{{{ME}}}) or vector(0)", "places")],
                    "none",
                    "Ways out whose certificate or key has ended or cannot be read; the log says which (E595).",
                    "stat",
                    6,
                    ((None, "green"), (1, "red")),
                ),
                Panel(
                    "Least life left of a list of revoked certificates",
                    [
                        (
                            f"min((segmill_revocation_list_next_update_timestamp_seconds{{{ME}}} - time())"
                            f" / (segmill_revocation_list_next_update_timestamp_seconds{{{ME}}}"
                            f" - segmill_revocation_list_this_update_timestamp_seconds{{{ME}}}))",
                            "left",
                        )
                    ],
                    "percentunit",
                    "At 0 % nobody of its authority is let in. Put the next list in its place, then segmill reload.",
                    "stat",
                    6,
                    ((None, "red"), (0.0001, "orange"), (0.05, "green")),
                ),
                Panel(
                    "Console",
                    [(f"min(segmill_console_up{{{ME}}})", "can be reached")],
                    "none",
                    "0: its port or its certificate keep people out (E500); messages are taken all the same.",
                    "stat",
                    6,
                    ((None, "red"), (1, "green")),
                ),
            ],
        ),
        (
            "Traffic",
            [
                Panel(
                    "Messages received",
                    [
                        (
                            f"sum by (channel) (rate(segmill_messages_received_total{{{ME}}}[$__rate_interval]))",
                            "{{channel}}",
                        )
                    ],
                    "reqps",
                    "By channel. A feed that has gone silent is a line that ends at zero.",
                    width=12,
                ),
                Panel(
                    "Seconds since the last message",
                    [(f"time() - (segmill_last_received_timestamp_seconds{{{ME}}} > 0)", "{{channel}}")],
                    "s",
                    "By channel. Compare with the same hour of last week.",
                    width=12,
                ),
                Panel(
                    "What became of them",
                    [(f"sum by (outcome) (rate(segmill_messages_total{{{ME}}}[$__rate_interval]))", "{{outcome}}")],
                    "reqps",
                    "held, rejected and unreadable want a look; filtered and duplicate are as configured.",
                    width=8,
                    stacked=True,
                ),
                Panel(
                    "Negative acknowledgements",
                    [
                        (
                            "sum by (channel, code) (rate(segmill_acknowledgements_total"
                            f'{{{ME}, code=~"AE|AR|CE|CR"}}[$__rate_interval]))',
                            "{{channel}} {{code}}",
                        )
                    ],
                    "reqps",
                    "By channel and MSA-1.",
                ),
                Panel(
                    "Delivered",
                    [
                        (
                            "sum by (channel, destination) (rate(segmill_deliveries_total"
                            f'{{{ME}, outcome="delivered"}}[$__rate_interval]))',
                            "{{channel}}/{{destination}}",
                        )
                    ],
                    "reqps",
                    "By destination.",
                ),
            ],
        ),
    ],
)

CHANNELS = Dashboard(
    "segmill-channel",
    "Segmill / Channel",
    "One channel: what comes in, what is answered, which step takes how long, what is found.",
    [
        (
            "Intake",
            [
                Panel(
                    "Received",
                    [(f"rate(segmill_messages_received_total{{{CHANNEL}}}[$__rate_interval])", "{{channel}}")],
                    "reqps",
                    "Messages a second.",
                ),
                Panel(
                    "Received bytes",
                    [(f"rate(segmill_received_bytes_total{{{CHANNEL}}}[$__rate_interval])", "{{channel}}")],
                    "Bps",
                    "Divide by the messages: documents inside of results show here.",
                ),
                Panel(
                    "What became of them",
                    [
                        (
                            f"sum by (outcome) (rate(segmill_messages_total{{{CHANNEL}}}[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "reqps",
                    "processed, filtered, held, rejected, waiting, duplicate, unreadable, refused.",
                    stacked=True,
                ),
                Panel(
                    "Time to the acknowledgement",
                    [
                        (quantile(0.5, "segmill_ack_seconds", CHANNEL, "channel"), "median"),
                        (quantile(0.99, "segmill_ack_seconds", CHANNEL, "channel"), "99 of 100"),
                    ],
                    "s",
                    "From the end of a message to its answer, with the commit in it.",
                    width=12,
                ),
                Panel(
                    "Acknowledgements",
                    [
                        (
                            f"sum by (code) (rate(segmill_acknowledgements_total{{{CHANNEL}}}[$__rate_interval]))",
                            "{{code}}",
                        )
                    ],
                    "reqps",
                    "By MSA-1.",
                    width=12,
                    stacked=True,
                ),
            ],
        ),
        (
            "Steps and findings",
            [
                Panel(
                    "Time of a step",
                    [
                        (
                            f"sum by (step) (rate(segmill_step_seconds_sum{{{CHANNEL}}}[$__rate_interval]))"
                            f" / sum by (step) (rate(segmill_step_seconds_count{{{CHANNEL}}}[$__rate_interval]))",
                            "{{step}}",
                        )
                    ],
                    "s",
                    "Taken on a sample: compare steps with each other.",
                    width=12,
                ),
                Panel(
                    "Findings",
                    [
                        (
                            f"topk(10, sum by (code) (rate(segmill_findings_total{{{CHANNEL}}}[$__rate_interval])))",
                            "{{code}}",
                        )
                    ],
                    "reqps",
                    "segmill explain CODE tells the long story.",
                    width=12,
                ),
                Panel(
                    "Breaches of rules",
                    [
                        (
                            "topk(10, sum by (rule, mode) (rate(segmill_validation_findings_total"
                            f"{{{CHANNEL}}}[$__rate_interval])))",
                            "{{rule}} {{mode}}",
                        )
                    ],
                    "reqps",
                    "Of the standard and of the channel's profile.",
                    width=12,
                ),
                Panel(
                    "Drift",
                    [(f"segmill_profile_drift_senders{{{CHANNEL}}}", "{{sender}} {{place}}")],
                    "none",
                    "Senders that differ from what the profile was learned from.",
                ),
                Panel(
                    "Own process",
                    [
                        (
                            f"sum by (event) (increase(segmill_worker_events_total{{{CHANNEL}}}[$__rate_interval]))",
                            "{{event}}",
                        )
                    ],
                    "none",
                    "Of channels with isolate: process. late and ended want a look.",
                    width=4,
                ),
            ],
        ),
        (
            "Connections",
            [
                Panel(
                    "Open connections",
                    [(f"segmill_connections{{{ME}}}", "{{listener}}")],
                    "none",
                    "By listener.",
                    width=12,
                ),
                Panel(
                    "What happened to connections",
                    [
                        (
                            "sum by (listener, event) (increase(segmill_connection_events_total"
                            f'{{{ME}, event!="accepted"}}[$__rate_interval])) > 0',
                            "{{listener}} {{event}}",
                        )
                    ],
                    "none",
                    "Refusals, peers that vanished, and what is wrong with blocks.",
                    width=12,
                ),
            ],
        ),
    ],
    [("channel", "segmill_messages_received_total")],
)

DELIVERY = Dashboard(
    "segmill-delivery",
    "Segmill / Delivery",
    "One destination or all: what waits, for how long, and why.",
    [
        (
            "Queues",
            [
                Panel(
                    "Waiting",
                    [(f'segmill_queue_depth{{{LANE}, state="queued"}}', "{{channel}}/{{destination}}")],
                    "none",
                    "Stored and not delivered yet.",
                ),
                Panel(
                    "Age of the oldest",
                    [(f"segmill_queue_oldest_seconds{{{LANE}}}", "{{channel}}/{{destination}}")],
                    "s",
                    "Zero where nothing waits.",
                ),
                Panel(
                    "Held for a person",
                    [(f'segmill_queue_depth{{{LANE}, state="held"}}', "{{channel}}/{{destination}}")],
                    "none",
                    "segmill messages --state held",
                ),
                Panel(
                    "Up",
                    [(f"segmill_destination_connected{{{LANE}}}", "{{channel}}/{{destination}}")],
                    "bool_on_off",
                    "0 while the destination is down.",
                ),
                Panel(
                    "Within its hours",
                    [(f"segmill_destination_open{{{LANE}}}", "{{channel}}/{{destination}}")],
                    "bool_on_off",
                    "0 outside of the hours of its policy.",
                ),
                Panel(
                    "Paused, or stopped",
                    [
                        (f"segmill_queue_paused{{{LANE}}}", "{{channel}}/{{destination}} paused"),
                        (f"segmill_destination_stopped{{{LANE}}}", "{{channel}}/{{destination}} stopped"),
                    ],
                    "bool_on_off",
                    "Paused by a person; or stopped at a refused message, which waits for one: segmill queue list.",
                ),
            ],
        ),
        (
            "Attempts",
            [
                Panel(
                    "Attempts by outcome",
                    [
                        (
                            f"sum by (outcome) (rate(segmill_deliveries_total{{{LANE}}}[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "reqps",
                    "delivered, refused (a negative answer), unreachable, unanswered, unsendable.",
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Time of one attempt",
                    [
                        (
                            quantile(0.5, "segmill_delivery_seconds", LANE, "channel, destination"),
                            "{{channel}}/{{destination}} median",
                        ),
                        (
                            quantile(0.99, "segmill_delivery_seconds", LANE, "channel, destination"),
                            "{{channel}}/{{destination}} 99 of 100",
                        ),
                    ],
                    "s",
                    "To the receiver's answer: one over this is what a lane without order_by can do in a second.",
                    width=12,
                ),
                Panel(
                    "Keys that are held up",
                    [(f"segmill_blocked_keys{{{LANE}}}", "{{channel}}/{{destination}}")],
                    "none",
                    "Patients (or other keys of order_by) behind a message that is tried again.",
                ),
                Panel(
                    "Given to another destination",
                    [
                        (
                            f"increase(segmill_redirected_deliveries_total{{{LANE}}}[$__rate_interval])",
                            "{{channel}}/{{destination}}",
                        )
                    ],
                    "none",
                    "As the policy says.",
                ),
                Panel(
                    "Lanes that failed",
                    [(f"increase(segmill_lane_failures_total{{{LANE}}}[1h])", "{{channel}}/{{destination}}")],
                    "none",
                    "By a defect of the engine, in the last hour: segmill explain E251.",
                ),
            ],
        ),
    ],
    [("channel", "segmill_queue_depth"), ("destination", "segmill_queue_depth")],
)

STORE = Dashboard(
    "segmill-store",
    "Segmill / Store and process",
    "The disk that every positive answer waits for, and the process itself.",
    [
        (
            "Store",
            [
                Panel(
                    "Time of a commit",
                    [
                        (quantile(0.5, "segmill_commit_seconds", ME, "instance"), "{{instance}} median"),
                        (quantile(0.99, "segmill_commit_seconds", ME, "instance"), "{{instance}} 99 of 100"),
                    ],
                    "s",
                    "One durable transaction, with its sync.",
                ),
                Panel(
                    "Entries of a commit",
                    [
                        (
                            f"rate(segmill_commit_messages_sum{{{ME}}}[$__rate_interval])"
                            f" / rate(segmill_commit_messages_count{{{ME}}}[$__rate_interval])",
                            "{{instance}}",
                        )
                    ],
                    "none",
                    "More when it is busy: many messages share one sync.",
                ),
                Panel(
                    "Commits",
                    [(f"rate(segmill_commit_seconds_count{{{ME}}}[$__rate_interval])", "{{instance}}")],
                    "ops",
                    "A second.",
                ),
                Panel(
                    "Free on the disk",
                    [(f"segmill_disk_free_bytes{{{ME}}}", "{{instance}}")],
                    "bytes",
                    "Below limits.free_disk messages are refused.",
                    width=6,
                ),
                Panel(
                    "Held by the store",
                    [(f"segmill_store_bytes{{{ME}}}", "{{instance}}")],
                    "bytes",
                    "Its files, with the log of writes.",
                    width=6,
                ),
                Panel(
                    "Forgotten",
                    [
                        (
                            f"sum by (what) (rate(segmill_retention_pruned_total{{{ME}}}[$__rate_interval]))",
                            "{{what}}",
                        )
                    ],
                    "ops",
                    "By retention: bytes of messages, and messages whole.",
                    width=4,
                ),
                Panel(
                    "Since the last pass",
                    [(f"time() - segmill_retention_pass_timestamp_seconds{{{ME}}}", "{{instance}}")],
                    "s",
                    "Every ten minutes all that is old enough is forgotten.",
                    width=4,
                ),
                Panel(
                    "Damaged",
                    [(f"segmill_store_damaged_entries_total{{{ME}}}", "{{instance}}")],
                    "none",
                    "Since the start; held, as their bytes are not what was stored: segmill explain E250.",
                    width=4,
                ),
                Panel(
                    "Age of the store's keys",
                    [(f"time() - segmill_store_key_since_timestamp_seconds{{{ME}}}", "{{instance}} {{key}}")],
                    "s",
                    "Of an encrypted store: the site's key, and the data key; nothing where it is not encrypted.",
                ),
            ],
        ),
        (
            "Audit",
            [
                Panel(
                    "Repository",
                    [(f"segmill_audit_export_up{{{ME}}}", "{{instance}}")],
                    "bool_on_off",
                    "0: the audit waits in the store until its repository is back; segmill check --env says why.",
                    width=6,
                ),
                Panel(
                    "Waiting records",
                    [(f"segmill_audit_export_waiting_records{{{ME}}}", "{{instance}}")],
                    "none",
                    "On record here, and not known to be there.",
                    width=6,
                ),
                Panel(
                    "Oldest of them",
                    [(f"segmill_audit_export_lag_seconds{{{ME}}}", "{{instance}}")],
                    "s",
                    "Some seconds are usual: a record counts as sent when the connection still stands after five.",
                    width=6,
                ),
                Panel(
                    "Sent",
                    [
                        (
                            f"rate(segmill_audit_export_messages_total{{{ME}}}[$__rate_interval])",
                            "{{instance}} messages",
                        ),
                        (
                            f"rate(segmill_audit_export_failures_total{{{ME}}}[$__rate_interval])",
                            "{{instance}} failures",
                        ),
                    ],
                    "ops",
                    "Some again, after a connection was lost.",
                    width=6,
                ),
            ],
        ),
        (
            "Process",
            [
                Panel(
                    "Processor",
                    [(f"rate(process_cpu_seconds_total{{{ME}}}[$__rate_interval])", "{{instance}}")],
                    "percentunit",
                    "Of one core.",
                ),
                Panel(
                    "Memory",
                    [(f"process_resident_memory_bytes{{{ME}}}", "{{instance}}")],
                    "bytes",
                    "Resident.",
                ),
                Panel(
                    "File descriptors",
                    [
                        (f"process_open_fds{{{ME}}}", "{{instance}} open"),
                        (f"process_max_fds{{{ME}}}", "{{instance}} at most"),
                    ],
                    "none",
                    "A connection is one.",
                ),
                Panel(
                    "Collector of traces",
                    [(f"segmill_trace_collector_up{{{ME}}}", "{{instance}}")],
                    "bool_on_off",
                    "0: it does not take them; messages are not touched by it.",
                    width=12,
                ),
                Panel(
                    "Spans",
                    [
                        (
                            f"sum by (outcome) (rate(segmill_trace_spans_total{{{ME}}}[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "ops",
                    "Dropped: no room while the collector was away. Refused: it does not want them.",
                    width=12,
                ),
                Panel(
                    "What is running",
                    [(f"segmill_build_info{{{ME}}}", "{{instance}}")],
                    "none",
                    "Versions, by engine.",
                    "table",
                    12,
                ),
                Panel(
                    "Up since",
                    [(f"time() - process_start_time_seconds{{{ME}}}", "{{instance}}")],
                    "s",
                    "A saw is an engine that is started again and again.",
                    width=12,
                ),
            ],
        ),
    ],
)

WORKLIST = Dashboard(
    "segmill-worklist",
    "Segmill / Worklist",
    "What scanners see, ask and tell.",
    [
        (
            "Steps",
            [
                Panel(
                    "On the worklists",
                    [(f"segmill_worklist_items{{{ME}}}", "{{worklist}} {{status}}")],
                    "none",
                    "By status.",
                    stacked=True,
                ),
                Panel(
                    "For no scanner",
                    [(f"segmill_worklist_items_without_station{{{ME}}}", "{{worklist}}")],
                    "none",
                    "Seen by none that asks for its own list: add a row to the station table.",
                ),
                Panel(
                    "Refused by the worklist",
                    [
                        (
                            f"sum by (code) (increase(segmill_worklist_refusals_total{{{ME}}}[$__rate_interval]))",
                            "{{code}}",
                        )
                    ],
                    "none",
                    "E414 and E415 are about the wrong patient.",
                ),
            ],
        ),
        (
            "Scanners",
            [
                Panel(
                    "Queries",
                    [
                        (
                            f"sum by (outcome) (rate(segmill_dicom_queries_total{{{ME}}}[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "reqps",
                    "By how they ended.",
                    stacked=True,
                ),
                Panel(
                    "Time of a query",
                    [
                        (quantile(0.5, "segmill_dicom_query_seconds", ME, "instance"), "median"),
                        (quantile(0.99, "segmill_dicom_query_seconds", ME, "instance"), "99 of 100"),
                    ],
                    "s",
                    "From the query to its last answer.",
                ),
                Panel(
                    "Answers",
                    [
                        (f"rate(segmill_dicom_answers_total{{{ME}}}[$__rate_interval])", "items"),
                        (
                            f"rate(segmill_dicom_rewritten_answers_total{{{ME}}}[$__rate_interval])",
                            "with letters replaced",
                        ),
                        (f"rate(segmill_dicom_unencodable_items_total{{{ME}}}[$__rate_interval])", "left out"),
                    ],
                    "ops",
                    "Left out: damaged, or not to be written as DICOM.",
                ),
                Panel(
                    "Not let in",
                    [(f"increase(segmill_dicom_refused_associations_total{{{ME}}}[$__rate_interval])", "{{instance}}")],
                    "none",
                    "By their AE title, address or certificate, or too many at once.",
                ),
                Panel(
                    "Performed steps",
                    [
                        (
                            f"sum by (outcome) (rate(segmill_dicom_performed_steps_total{{{ME}}}[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "reqps",
                    "MPPS: begun and changed.",
                ),
                Panel(
                    "Told to the ordering system",
                    [
                        (
                            "sum by (outcome) (increase(segmill_worklist_statuses_told_total"
                            f"{{{ME}}}[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    "none",
                    "held and failed want a look.",
                ),
            ],
        ),
        (
            "Hand-offs",
            [
                Panel(
                    "Up", [(f"segmill_hand_off_up{{{ME}}}", "{{hand_off}}")], "bool_on_off", "0: an old list is shown."
                ),
                Panel(
                    "Steps that wait",
                    [
                        (f"segmill_hand_off_waiting_steps{{{ME}}}", "{{hand_off}} waiting"),
                        (f"segmill_hand_off_refused_steps{{{ME}}}", "{{hand_off}} not taken"),
                    ],
                    "none",
                    "segmill worklist hand-offs says why.",
                ),
                Panel(
                    "Late by",
                    [(f"segmill_hand_off_lag_seconds{{{ME}}}", "{{hand_off}}")],
                    "s",
                    "Age of the oldest that waits.",
                    width=4,
                ),
                Panel(
                    "Steps handed over",
                    [
                        (
                            f"sum by (hand_off, event) (rate(segmill_hand_off_steps_total{{{ME}}}[$__rate_interval]))",
                            "{{hand_off}} {{event}}",
                        )
                    ],
                    "ops",
                    "By what was done with them.",
                    width=4,
                ),
            ],
        ),
    ],
)

DASHBOARDS: Final = (OVERVIEW, CHANNELS, DELIVERY, STORE, WORKLIST)


def rendered(board: Dashboard) -> dict[str, Any]:
    """As Grafana 10 and later import it; each row holds its panels from left to right."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in board.rows:
        panels.append(_row(title, y, len(panels) + 1))
        y, x = y + 1, 0
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            panels.append(_panel(panel, x, y, len(panels) + 1))
            x += panel.width
        y += HEIGHT
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.reads,
        "tags": ["segmill"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "tags": ["segmill"],
                "title": "Segmill",
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": _variables(board)},
        "panels": panels,
    }


def _variables(board: Dashboard) -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    chosen = [("instance", "segmill_build_info"), *board.choices]
    return [source, *(_choice(name, metric) for name, metric in chosen)]


def _choice(name: str, metric: str) -> dict[str, Any]:
    narrowed = "" if name == "instance" else '{instance=~"$instance"}'
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({metric}{narrowed}, {name})", "refId": name},
        "definition": f"label_values({metric}{narrowed}, {name})",
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _row(title: str, y: int, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
    }


def _panel(panel: Panel, x: int, y: int, number: int) -> dict[str, Any]:
    is_stat, is_table = panel.kind == "stat", panel.kind == "table"
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.steps:
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in panel.steps],
        }
        defaults["color"] = {"mode": "thresholds"}
    if panel.kind == "timeseries":
        stacking = {"group": "A", "mode": "normal" if panel.stacked else "none"}
        fill = 30 if panel.stacked else 0
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "stacking": stacking}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if is_stat:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area"}
    elif is_table:
        options = {"showHeader": True}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.reads,
        "datasource": DATASOURCE,
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "instant": is_table,
                "range": not is_table,
                "format": "table" if is_table else "time_series",
            }
            for at, (expression, legend) in enumerate(panel.targets)
        ],
    }


def text(board: Dashboard) -> str:
    return json.dumps(rendered(board), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for board in DASHBOARDS:
        (FOLDER / f"{board.uid}.json").write_text(text(board), encoding="utf-8")


if __name__ == "__main__":
    main()
