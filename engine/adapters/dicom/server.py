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

    def __init__(self, queries: WorklistQueries, worklist: str, asked: Queries) -> None:
        self._queries = queries
        self._worklist = worklist
        self._asked = asked

    def reader(self) -> "StoreShelf":
        """Itself: it keeps nothing between two questions."""
        return self

    def candidates(self, query: Query, most: int) -> Sequence[Shelved]:
        """As WorklistReader.candidates. Raises StoreError."""
        with self._queries.worklist(self._worklist) as view:
            found = view.candidates(query, most)
        if view.damaged:
            self._asked.left_out(view.damaged, "damaged in the store")
        return found

    def close(self) -> None:
        """Nothing is open."""


class SiteServer:
    """The server of the site's settings, and what it is asked. `folder`: the site's, for TLS files.

    Raises ConfigError for files that cannot be used.
    """

    def __init__(
        self,
        options: DicomOptions,
        folder: Path,
        queries: WorklistQueries,
        performed: PerformedSteps,
        asked: Queries,
        now_us: Callable[[], int],
    ) -> None:
        self._queries = queries
        self._asked = asked
        self.scp = WorklistScp(
            settings_of(options, folder),
            StoreShelf(queries, options.worklist, asked),
            asked,
            performed if options.mpps else None,
            now_us=now_us,
        )

    def change(self, options: DicomOptions, settings: ScpSettings, performed: PerformedSteps) -> None:
        """Serve by these from now on, on the port that it has; `settings`: theirs. Raises nothing."""
        shelf = StoreShelf(self._queries, options.worklist, self._asked)
        self.scp.change(settings, shelf, performed if options.mpps else None)


def queries_of(options: DicomOptions, meter: DicomMeter) -> Queries:
    """A log of queries as the settings say."""
    return Queries(meter, keep=options.query_log.keep, keeps_patients=options.query_log.patients)


def settings_of(options: DicomOptions, folder: Path) -> ScpSettings:
    """The server's own settings. Raises ConfigError."""
    limits = options.limits
    return ScpSettings(
        options.host,
        options.port,
        options.ae_title,
        options.called,
        {
            title: Modality(
                modality.charset, modality.own_items_only, modality.associations, options.folds_accents(title)
            )
            for title, modality in options.modalities.items()
        },
        Modality(folds_accents=options.accents == "fold") if options.others == "accept" else None,
        limits.associations,
        limits.answers,
        hello_s=limits.hello,
        network_s=limits.network,
        dimse_s=limits.network,
        tls=listen_context(options.tls, folder) if options.tls is not None else None,
        logs_patients=options.query_log.patients,
    )
