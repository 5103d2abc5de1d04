-- Modality worklists. Times that orders carry are texts `YYYYMMDDHHMMSS.ffffff`, which sort as they are.
-- Statuses are numbers, listed in engine/adapters/stores/worklist.py. An issuer is '' where nobody is named.

-- `epoch` counts what was written, so that a decision knows whether anything came between.
CREATE TABLE worklist (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  epoch INTEGER NOT NULL
);

-- One scheduled procedure step. `attributes`: DICOM JSON. `encoded`: its elements, ready for answers, null until
-- `revision` has been encoded. `crc`: CRC-32 of both and of `originals`, so that a damaged item is left out instead of
-- answered with. `shown_accession`: the accession number as scanners see it where it was ordered otherwise, else ''.
-- `originals`: JSON of identifiers as they were ordered, where scanners see them otherwise, else ''.
CREATE TABLE worklist_item (
  id INTEGER PRIMARY KEY,
  worklist INTEGER NOT NULL REFERENCES worklist (id),
  study_uid TEXT NOT NULL,
  step_id TEXT NOT NULL,
  status INTEGER NOT NULL,
  is_held INTEGER NOT NULL,
  patient TEXT NOT NULL,
  patient_issuer TEXT NOT NULL,
  placer TEXT NOT NULL,
  placer_issuer TEXT NOT NULL,
  filler TEXT NOT NULL,
  filler_issuer TEXT NOT NULL,
  accession TEXT NOT NULL,
  accession_issuer TEXT NOT NULL,
  visit TEXT NOT NULL,
  visit_issuer TEXT NOT NULL,
  starts_at TEXT NOT NULL,
  ordered_at TEXT NOT NULL,
  uid_origin TEXT NOT NULL,
  revision INTEGER NOT NULL,
  changed_at_us INTEGER NOT NULL,
  attributes TEXT NOT NULL,
  encoded BLOB NOT NULL,
  crc INTEGER NOT NULL,
  modality TEXT NOT NULL,
  shown_accession TEXT NOT NULL,
  originals TEXT NOT NULL,
  UNIQUE (worklist, study_uid, step_id)
);

CREATE INDEX worklist_item_by_placer ON worklist_item (worklist, placer) WHERE placer <> '';
CREATE INDEX worklist_item_by_filler ON worklist_item (worklist, filler) WHERE filler <> '';
CREATE INDEX worklist_item_by_accession ON worklist_item (worklist, accession) WHERE accession <> '';
CREATE INDEX worklist_item_by_shown_accession ON worklist_item (worklist, shown_accession) WHERE shown_accession <> '';
CREATE INDEX worklist_item_by_patient ON worklist_item (worklist, patient);
CREATE INDEX worklist_item_by_start ON worklist_item (worklist, starts_at);
CREATE INDEX worklist_item_shown ON worklist_item (worklist, starts_at) WHERE status <= 2 AND is_held = 0;
CREATE INDEX worklist_item_of_modality ON worklist_item (worklist, modality, starts_at)
  WHERE status <= 2 AND is_held = 0;
CREATE INDEX worklist_item_by_status ON worklist_item (status, changed_at_us);

-- Its station AE titles: a query for one finds items of several.
CREATE TABLE worklist_station (
  ae TEXT NOT NULL,
  starts_at TEXT NOT NULL,
  item INTEGER NOT NULL REFERENCES worklist_item (id),
  PRIMARY KEY (ae, starts_at, item)
) WITHOUT ROWID;

CREATE INDEX worklist_station_of_item ON worklist_station (item);

-- The groups of its patient's name, in small letters as they are compared: a query finds each by its beginning.
CREATE TABLE worklist_name (
  name TEXT NOT NULL,
  item INTEGER NOT NULL REFERENCES worklist_item (id),
  PRIMARY KEY (name, item)
) WITHOUT ROWID;

CREATE INDEX worklist_name_of_item ON worklist_name (item);

-- What happened to an item: `seq` is the message that did it, 0 for a person, a scanner or time.
CREATE TABLE worklist_history (
  id INTEGER PRIMARY KEY,
  worklist INTEGER NOT NULL REFERENCES worklist (id),
  study_uid TEXT NOT NULL,
  step_id TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  who TEXT NOT NULL,
  what TEXT NOT NULL,
  status INTEGER NOT NULL
);

CREATE INDEX worklist_history_of_item ON worklist_history (study_uid, step_id, id);

-- What is known of patients and cancels is a worklist's own: on another, of another hospital, the same bare number may
-- be another patient's, and another order's.

-- Patients as ADT or a first order described them; `from_adt`: an order does not overwrite it.
CREATE TABLE worklist_patient (
  worklist INTEGER NOT NULL REFERENCES worklist (id),
  patient TEXT NOT NULL,
  issuer TEXT NOT NULL,
  attributes TEXT NOT NULL,
  from_adt INTEGER NOT NULL,
  at TEXT NOT NULL,
  changed_at_us INTEGER NOT NULL,
  PRIMARY KEY (worklist, patient, issuer)
) WITHOUT ROWID;

-- Identifiers that were merged into another: late orders still come with them.
CREATE TABLE worklist_alias (
  worklist INTEGER NOT NULL REFERENCES worklist (id),
  patient TEXT NOT NULL,
  issuer TEXT NOT NULL,
  survivor TEXT NOT NULL,
  survivor_issuer TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  PRIMARY KEY (worklist, patient, issuer)
) WITHOUT ROWID;

-- Cancels that came before their order, by each number that they carried. `kind`: study, placer, filler, accession.
CREATE TABLE worklist_tombstone (
  worklist INTEGER NOT NULL REFERENCES worklist (id),
  kind TEXT NOT NULL,
  number TEXT NOT NULL,
  issuer TEXT NOT NULL,
  step_id TEXT NOT NULL,
  at TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  PRIMARY KEY (worklist, kind, number, issuer, step_id)
) WITHOUT ROWID;

-- Performed procedure steps, as scanners told them. `attributes`: JSON by keyword.
CREATE TABLE mpps (
  uid TEXT PRIMARY KEY,
  status TEXT NOT NULL,
  calling TEXT NOT NULL,
  station TEXT NOT NULL,
  reason TEXT NOT NULL,
  reason_scheme TEXT NOT NULL,
  created_at_us INTEGER NOT NULL,
  changed_at_us INTEGER NOT NULL,
  attributes TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE mpps_reference (
  uid TEXT NOT NULL REFERENCES mpps (uid),
  study_uid TEXT NOT NULL,
  step_id TEXT NOT NULL,
  accession TEXT NOT NULL
);

CREATE INDEX mpps_reference_of ON mpps_reference (uid);
CREATE INDEX mpps_reference_by_study ON mpps_reference (study_uid, step_id);
CREATE INDEX mpps_reference_by_accession ON mpps_reference (accession) WHERE accession <> '';
