"""The site's DICOM port, as its settings say: made and started by the engine, in threads of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.adapters.dicom.queries import DicomMeter, Queries
from engine.adapters.dicom.scp import Modality, ScpSettings, WorklistScp
from engine.adapters.tls import listen_context
from engine.config.dicom import DicomOptions
from engine.ports.worklist import PerformedSteps, Shelved, WorklistQueries
from engine.worklist.matching import Query


class StoreShelf:
    """A worklist in the store as servers read it: what a query may find is read at once, and the store let go of.

    A read transaction that lasted as long as a slow scanner takes its answers would keep the write-ahead log growing.
    """

    def __init__(self, queries: WorklistQueries, worklist: str) -> None:
        self._queries = queries
        self._worklist = worklist

    def reader(self) -> "StoreShelf":
        """Itself: it keeps nothing between two questions."""
        return self

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        """As WorklistReader.candidates. Raises StoreError."""
        with self._queries.worklist(self._worklist) as view:
            return view.candidates(query, most)

    def close(self) -> None:
        """Nothing is open."""


def worklist_server(
    options: DicomOptions,
    folder: Path,
    queries: WorklistQueries,
    meter: DicomMeter,
    performed: PerformedSteps | None,
    now_us: Callable[[], int],
) -> tuple[WorklistScp, Queries]:
    """The server, which does not listen yet, and what it is asked. `folder`: the site's, for TLS files.

    Raises ConfigError for files that cannot be used.
    """
    told = Queries(meter, keep=options.query_log.keep, keeps_patients=options.query_log.patients)
    limits = options.limits
    settings = ScpSettings(
        options.host,
        options.port,
        options.ae_title,
        options.called,
        {
            title: Modality(modality.charset, modality.own_items_only, modality.associations)
            for title, modality in options.modalities.items()
        },
        Modality() if options.others == "accept" else None,
        limits.associations,
        limits.answers,
        hello_s=limits.hello,
        network_s=limits.network,
        dimse_s=limits.network,
        tls=listen_context(options.tls, folder) if options.tls is not None else None,
        logs_patients=options.query_log.patients,
    )
    shelf = StoreShelf(queries, options.worklist)
    return WorklistScp(settings, shelf, told, performed if options.mpps else None, now_us=now_us), told
