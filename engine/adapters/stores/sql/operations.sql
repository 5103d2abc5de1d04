-- What people do, and its record.

-- name: deliveries_to_move
-- With whether the bytes are still kept: what is to be sent needs them.
SELECT d.id, d.seq, d.state, COALESCE(d.body, m.body), l.destination, c.name
FROM delivery d JOIN lane l ON l.id = d.lane JOIN channel c ON c.id = l.channel JOIN message m ON m.seq = d.seq
WHERE d.id IN (/*rows*/?/*rows*/);

-- name: act_on_delivery
-- A person's move; one that is queued again may be tried at once.
UPDATE delivery SET state = v.column2, next_at_us = 0, done_at_us = v.column3, code = '', note = v.column4,
  answer = x'',
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB),
      CAST(next_at_us AS BLOB), CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB),
      CAST(answer AS BLOB))
    + crc_of(CAST(v.column2 AS BLOB), CAST(attempts AS BLOB), CAST(0 AS BLOB),
      CAST(v.column3 AS BLOB), CAST('' AS BLOB), CAST(v.column4 AS BLOB), CAST(x'' AS BLOB))
FROM (VALUES /*rows*/(?, ?, ?, ?)/*rows*/) AS v
WHERE delivery.id = v.column1;

-- name: try_at_once
UPDATE delivery SET next_at_us = 0,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB),
      CAST(next_at_us AS BLOB), CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB),
      CAST(answer AS BLOB))
    + crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB), CAST(0 AS BLOB),
      CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB), CAST(answer AS BLOB))
WHERE id IN (/*rows*/?/*rows*/);

-- name: message_states
SELECT seq, state FROM message WHERE seq IN (/*rows*/?/*rows*/);

-- name: append_audit
INSERT INTO audit (id, at_us, actor, action, reason, scope, counts, ids, run, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: audit_head
SELECT last, hash FROM audit_head;

-- name: set_audit_head
INSERT INTO audit_head (id, last, hash) VALUES (1, :last, :hash)
ON CONFLICT (id) DO UPDATE SET last = excluded.last, hash = excluded.hash;

-- name: audit
SELECT id, at_us, actor, action, reason, scope, counts, ids, run, hash FROM audit WHERE id > :after
ORDER BY id LIMIT :limit;

-- name: pauses
SELECT channel, destination, at_us, actor, reason FROM pause ORDER BY channel, destination;

-- name: set_pause
INSERT INTO pause (channel, destination, at_us, actor, reason) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (channel, destination) DO NOTHING;

-- name: delete_pause
DELETE FROM pause WHERE channel = ? AND destination = ?;

-- name: progress
SELECT action, digest, done, finished, report FROM operation WHERE run = ?;

-- name: set_progress
INSERT INTO operation (run, at_us, action, digest, done, finished, report) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run) DO UPDATE SET done = excluded.done, finished = excluded.finished, report = excluded.report;

-- name: states_of_deliveries
SELECT d.id, d.state, d.seq, c.name, l.destination
FROM delivery d JOIN lane l ON l.id = d.lane JOIN channel c ON c.id = l.channel WHERE d.id IN (/*rows*/?/*rows*/);

-- name: origin
SELECT origin FROM link WHERE seq = ?;

-- name: edited
SELECT seq FROM link WHERE origin = ? ORDER BY seq;

-- name: last_version
SELECT max(v.id) FROM channel_version v JOIN channel c ON c.id = v.channel WHERE c.name = ?;
