-- Worklists. Columns of an item always in this order, as engine/adapters/stores/worklist.py reads them.

-- name: insert_worklist
INSERT OR IGNORE INTO worklist (name, epoch) VALUES (?, 0)

-- name: worklist_id
SELECT id, epoch FROM worklist WHERE name = ?

-- name: next_epoch
UPDATE worklist SET epoch = epoch + 1 WHERE id = ?

-- name: set_epoch
UPDATE worklist SET epoch = :epoch WHERE id = :id

-- name: items_by_study
SELECT * FROM worklist_item WHERE worklist = ? AND study_uid = ?

-- name: items_by_placer
SELECT * FROM worklist_item WHERE worklist = ? AND placer = ? AND placer <> ''

-- name: items_by_filler
SELECT * FROM worklist_item WHERE worklist = ? AND filler = ? AND filler <> ''

-- name: items_by_accession
-- As it was ordered, or as scanners see it.
SELECT * FROM worklist_item WHERE worklist = ? AND accession = ? AND accession <> ''
UNION ALL
SELECT * FROM worklist_item WHERE worklist = ? AND shown_accession = ? AND shown_accession <> ''

-- name: items_by_patient
SELECT * FROM worklist_item WHERE worklist = ? AND patient = ? AND patient_issuer = ?

-- name: item
SELECT * FROM worklist_item WHERE worklist = ? AND study_uid = ? AND step_id = ?

-- name: survivor
SELECT survivor, survivor_issuer FROM worklist_alias WHERE worklist = ? AND patient = ? AND issuer = ?

-- name: patient
SELECT attributes, from_adt, at FROM worklist_patient WHERE worklist = ? AND patient = ? AND issuer = ?

-- name: tombstone
SELECT at, issuer FROM worklist_tombstone
WHERE worklist = ? AND kind = ? AND number = ? AND step_id IN ('', ?)

-- name: put_item
INSERT INTO worklist_item (
  worklist, study_uid, step_id, status, is_held, patient, patient_issuer, placer, placer_issuer, filler, filler_issuer,
  accession, accession_issuer, visit, visit_issuer, starts_at, ordered_at, uid_origin, revision, changed_at_us,
  attributes, encoded, crc, modality, shown_accession, originals
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
RETURNING id

-- name: change_item
-- Only while nobody else changed it: the decision was made on this revision.
UPDATE worklist_item SET
  status = :status, is_held = :is_held, patient = :patient, patient_issuer = :patient_issuer, placer = :placer,
  placer_issuer = :placer_issuer, filler = :filler, filler_issuer = :filler_issuer, accession = :accession,
  accession_issuer = :accession_issuer, visit = :visit, visit_issuer = :visit_issuer, starts_at = :starts_at,
  ordered_at = :ordered_at, uid_origin = :uid_origin, revision = revision + 1, changed_at_us = :changed_at_us,
  attributes = :attributes, encoded = :encoded, crc = :crc,
  modality = :modality, shown_accession = :shown_accession, originals = :originals
WHERE worklist = :worklist AND study_uid = :study_uid AND step_id = :step_id AND revision = :revision
RETURNING id

-- name: drop_stations
DELETE FROM worklist_station WHERE item = ?

-- name: put_station
INSERT OR IGNORE INTO worklist_station (ae, starts_at, item) VALUES (?, ?, ?)

-- name: drop_names
DELETE FROM worklist_name WHERE item = ?

-- name: put_name
INSERT OR IGNORE INTO worklist_name (name, item) VALUES (?, ?)

-- name: drop_item
DELETE FROM worklist_item WHERE worklist = ? AND study_uid = ? AND step_id = ? AND revision = ? RETURNING id

-- name: put_history
INSERT INTO worklist_history (worklist, study_uid, step_id, at_us, seq, who, what, status)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_patient
INSERT INTO worklist_patient (worklist, patient, issuer, attributes, from_adt, at, changed_at_us)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (worklist, patient, issuer) DO UPDATE SET
  attributes = excluded.attributes, from_adt = excluded.from_adt, at = excluded.at,
  changed_at_us = excluded.changed_at_us

-- name: put_alias
INSERT INTO worklist_alias (worklist, patient, issuer, survivor, survivor_issuer, at_us) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (worklist, patient, issuer) DO UPDATE SET
  survivor = excluded.survivor, survivor_issuer = excluded.survivor_issuer, at_us = excluded.at_us

-- name: put_tombstone
INSERT INTO worklist_tombstone (worklist, kind, number, issuer, step_id, at, at_us) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (worklist, kind, number, issuer, step_id) DO UPDATE SET at = max(at, excluded.at), at_us = excluded.at_us

-- name: candidates_of_study
SELECT * FROM worklist_item WHERE worklist = ? AND study_uid = ? ORDER BY +starts_at LIMIT ?

-- name: candidates_of_accession
-- As scanners see it; where it was ordered otherwise, the other one is left out later.
SELECT * FROM (
  SELECT * FROM worklist_item WHERE worklist = ? AND accession = ? AND accession <> ''
  UNION ALL
  SELECT * FROM worklist_item WHERE worklist = ? AND shown_accession = ? AND shown_accession <> ''
) ORDER BY +starts_at LIMIT ?

-- name: candidates_of_patient
SELECT * FROM worklist_item WHERE worklist = ? AND patient = ? ORDER BY +starts_at LIMIT ?

-- CROSS JOIN: in this order. By what is known of the tables when they are made, SQLite would begin with all items.

-- name: candidates_of_station
SELECT worklist_item.* FROM worklist_station
CROSS JOIN worklist_item ON worklist_item.id = worklist_station.item
WHERE ae IN (SELECT value FROM json_each(?)) AND worklist_station.starts_at BETWEEN ? AND ? AND worklist = ?
  AND (? OR (status <= 2 AND is_held = 0))
GROUP BY worklist_item.id ORDER BY +worklist_station.starts_at LIMIT ?

-- name: candidates_of_name
SELECT worklist_item.* FROM worklist_name
CROSS JOIN worklist_item ON worklist_item.id = worklist_name.item
WHERE name >= ? AND name < ? AND worklist = ? AND (? OR (status <= 2 AND is_held = 0))
GROUP BY worklist_item.id ORDER BY +starts_at LIMIT ?

-- Where names are sealed: what they are of, in a range of days. The indexes have it, without a look at the items.

-- name: shown_names
SELECT worklist_name.name, worklist_name.item FROM worklist_item INDEXED BY worklist_item_shown
CROSS JOIN worklist_name INDEXED BY worklist_name_of_item ON worklist_name.item = worklist_item.id
WHERE worklist = ? AND starts_at BETWEEN ? AND ? AND status <= 2 AND is_held = 0
ORDER BY starts_at

-- name: all_names
SELECT worklist_name.name, worklist_name.item FROM worklist_item INDEXED BY worklist_item_by_start
CROSS JOIN worklist_name INDEXED BY worklist_name_of_item ON worklist_name.item = worklist_item.id
WHERE worklist = ? AND starts_at BETWEEN ? AND ?
ORDER BY starts_at

-- name: candidate
SELECT * FROM worklist_item WHERE id = ?

-- name: candidates_of_modality
SELECT * FROM worklist_item
WHERE worklist = ? AND modality IN (SELECT value FROM json_each(?)) AND starts_at BETWEEN ? AND ?
  AND status <= 2 AND is_held = 0
ORDER BY +starts_at LIMIT ?

-- name: candidates_shown
SELECT * FROM worklist_item
WHERE worklist = ? AND starts_at BETWEEN ? AND ? AND status <= 2 AND is_held = 0
ORDER BY starts_at LIMIT ?

-- name: candidates_all
SELECT * FROM worklist_item WHERE worklist = ? AND starts_at BETWEEN ? AND ? ORDER BY starts_at LIMIT ?

-- name: history
SELECT at_us, seq, who, what, status FROM worklist_history
WHERE worklist = ? AND study_uid = ? AND step_id = ? ORDER BY id

-- name: names
SELECT name FROM worklist

-- name: counts
SELECT worklist.name, status, count(*) FROM worklist_item
JOIN worklist ON worklist.id = worklist_item.worklist GROUP BY 1, 2

-- name: counts_of_all
SELECT status, count(*) FROM worklist_item INDEXED BY worklist_item_by_status GROUP BY status

-- name: without_station
SELECT worklist.name, count(*) FROM worklist_item INDEXED BY worklist_item_shown
JOIN worklist ON worklist.id = worklist_item.worklist
WHERE status <= 2 AND is_held = 0
  AND NOT EXISTS (SELECT 1 FROM worklist_station WHERE item = worklist_item.id)
GROUP BY 1

-- name: ended
SELECT id, worklist, study_uid, step_id FROM worklist_item
WHERE status = ? AND changed_at_us < ? ORDER BY changed_at_us LIMIT ?

-- name: overdue
SELECT id, worklist, study_uid, step_id FROM worklist_item
WHERE status <= 3 AND starts_at < ? ORDER BY id LIMIT ?

-- name: forget_item
DELETE FROM worklist_item WHERE id = ?

-- name: forget_history
DELETE FROM worklist_history WHERE worklist = ? AND study_uid = ? AND step_id = ?

-- name: forget_tombstones
DELETE FROM worklist_tombstone WHERE at_us < ?

-- name: forget_mpps_references
DELETE FROM mpps_reference
WHERE uid IN (SELECT uid FROM mpps WHERE status <> 'IN PROGRESS' AND changed_at_us < ?)

-- name: forget_mpps
DELETE FROM mpps WHERE status <> 'IN PROGRESS' AND changed_at_us < ?

-- name: order_of_step
-- The last order that made or changed it: what it is told with is written as that was.
SELECT m.message_type, b.bytes, m.crc FROM worklist_history h
JOIN worklist w ON w.id = h.worklist AND w.name = ?
JOIN message m ON m.seq = h.seq AND m.message_type IN ('ORM^O01', 'OMG^O19', 'OMI^O23')
LEFT JOIN whole_body b ON b.id = m.body
WHERE h.study_uid = ? AND h.step_id = ? AND h.seq > 0 ORDER BY h.id DESC LIMIT 1

-- name: seq_of_delivery
SELECT seq FROM delivery WHERE id = ?

-- name: mpps
SELECT attributes FROM mpps WHERE uid = ?

-- name: put_mpps
INSERT INTO mpps (uid, status, calling, station, reason, reason_scheme, created_at_us, changed_at_us, attributes)
VALUES (:uid, :status, :calling, :station, :reason, :reason_scheme, :at_us, :at_us, :attributes)
ON CONFLICT (uid) DO UPDATE SET
  status = excluded.status, reason = excluded.reason, reason_scheme = excluded.reason_scheme,
  changed_at_us = excluded.changed_at_us, attributes = excluded.attributes

-- name: drop_mpps_references
DELETE FROM mpps_reference WHERE uid = ?

-- name: put_mpps_reference
INSERT INTO mpps_reference (uid, study_uid, step_id, accession) VALUES (?, ?, ?, ?)

-- name: in_progress
-- What performed steps that have not ended name, as far as it may be an item: by its study, or by its accession number.
SELECT study_uid, step_id, mpps_reference.accession FROM mpps_reference JOIN mpps ON mpps.uid = mpps_reference.uid
WHERE mpps_reference.study_uid = ? AND mpps.status = 'IN PROGRESS'
UNION
SELECT study_uid, step_id, mpps_reference.accession FROM mpps_reference JOIN mpps ON mpps.uid = mpps_reference.uid
WHERE mpps_reference.accession IN (?, ?) AND mpps_reference.accession <> '' AND mpps.status = 'IN PROGRESS'

-- name: mpps_naming
-- Performed steps that may name an item: by its study, or by its accession number.
SELECT DISTINCT mpps.uid, mpps.attributes FROM mpps_reference JOIN mpps ON mpps.uid = mpps_reference.uid
WHERE mpps_reference.study_uid = ?
UNION
SELECT DISTINCT mpps.uid, mpps.attributes FROM mpps_reference JOIN mpps ON mpps.uid = mpps_reference.uid
WHERE mpps_reference.accession IN (?, ?) AND mpps_reference.accession <> ''
