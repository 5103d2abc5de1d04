"""Metrics of TLS files: when they run out, and what waits for them (ADR 58)."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from engine.adapters.tls_status import TlsStatus


def of_tls(certificate_ends: Mapping[str, float], tls: TlsStatus) -> Iterator[Metric]:
    """By place; in the scraper's thread."""
    waiting = tls.waiting()
    yield _of_certificates(certificate_ends)
    begins = GaugeMetricFamily(
        "segmill_revocation_list_this_update_timestamp_seconds",
        "When the list of revoked certificates that is believed here was made (thisUpdate), seconds since 1970.",
        labels=["place"],
    )
    ends = GaugeMetricFamily(
        "segmill_revocation_list_next_update_timestamp_seconds",
        "When it runs out (nextUpdate), and nobody of its authority is let in any more, seconds since 1970.",
        labels=["place"],
    )
    for place, found in tls.lists.items():
        begins.add_metric((place,), found.begins_s)
        ends.add_metric((place,), found.ends_s)
    yield begins
    yield ends
    unready = GaugeMetricFamily(
        "segmill_tls_files_unusable",
        "1 while what goes out there waits for its TLS files: they cannot be read, or the certificate has ended.",
        labels=["place"],
    )
    for place in sorted({*certificate_ends, *waiting}):
        unready.add_metric((place,), int(place in waiting))
    yield unready


def _of_certificates(ends: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(
        "segmill_certificate_not_after_timestamp_seconds",
        "When the certificate that is shown here runs out, seconds since 1970.",
        labels=["place"],
    )
    for place, end_s in ends.items():
        family.add_metric((place,), end_s)
    return family
