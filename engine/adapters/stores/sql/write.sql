-- Statements of the one connection that writes.

-- name: insert_message
INSERT INTO message (seq, receive_id, channel, version, received_at_us, sender, peer, message_type, control_id,
  body_hash, state, ack_code, findings, body, crc, ack, row_crc, keys)
VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)/*rows*/;

-- name: insert_body
INSERT INTO body (id, bytes) VALUES /*rows*/(?, ?)/*rows*/;

-- name: insert_room_for_body
INSERT INTO body (id, bytes) VALUES (?, zeroblob(?));

-- name: insert_piece
INSERT INTO body_piece (body, number, bytes) VALUES (?, ?, ?);

-- name: delete_pieces
DELETE FROM body_piece WHERE body = ?;

-- name: forget_pieces
-- Of messages that were never committed. At the start only: later, what has no row yet may be on its way.
-- By the index: a page is read for each piece otherwise, of all that are stored.
DELETE FROM body_piece WHERE body IN (SELECT p.body FROM body_piece p WHERE p.body NOT IN (SELECT id FROM body));

-- name: insert_delivery
INSERT INTO delivery (id, seq, lane, state, body, crc, note, key, urgent, row_crc, attempts, next_at_us, done_at_us,
  code, maybe_sent, answer)
VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, '', 0, x'')/*rows*/;

-- name: insert_channel
INSERT INTO channel (id, name) VALUES /*rows*/(?, ?)/*rows*/;

-- name: insert_lane
INSERT INTO lane (id, channel, destination) VALUES /*rows*/(?, ?, ?)/*rows*/;

-- name: insert_hour
INSERT INTO hour (first_seq, hour) VALUES /*rows*/(?, ?)/*rows*/;

-- name: add_to_tally
INSERT INTO tally (channel, state, messages) VALUES /*rows*/(?, ?, ?)/*rows*/
ON CONFLICT (channel, state) DO UPDATE SET messages = messages + excluded.messages;

-- name: record_results
-- An attempt's end moves what is queued and nothing else. `+` keeps the planner from walking all that
-- is queued: it must take the rows one by one and look each up by its id.
UPDATE delivery SET state = v.column2, attempts = v.column3, done_at_us = v.column4, next_at_us = v.column5,
  code = v.column6, note = v.column7, answer = v.column8,
  row_crc = v.column9 + seq + ((maybe_sent + 2 * urgent) << 40)
FROM (VALUES /*rows*/(?, ?, ?, ?, ?, ?, ?, ?, ?)/*rows*/) AS v
WHERE delivery.id = v.column1 AND +delivery.state = 0;

-- name: keep_attempt
-- Before `record_results`: the row still holds the attempt before. A destination that is down needs no row each time.
INSERT INTO attempt (delivery, number, at_us, code, note, answer)
SELECT :delivery, :number, :at_us, :code, :note, :answer
WHERE :code <> 'unreachable' OR NOT EXISTS (
  SELECT 1 FROM delivery WHERE id = :delivery AND code = 'unreachable' AND attempts > 0)
ON CONFLICT (delivery, number) DO NOTHING;

-- name: thin_attempts
-- The first few and the last few stay.
DELETE FROM attempt WHERE delivery = :delivery AND number > :first
  AND number < (SELECT number FROM attempt WHERE delivery = :delivery ORDER BY number DESC LIMIT 1 OFFSET :last - 1);

-- name: keep_last_attempt
-- Before a person's move: the row is to say what the person did. One that is queued has all that is kept of it in
-- `attempt` already, and no time in its own row.
INSERT INTO attempt (delivery, number, at_us, code, note, answer)
SELECT id, attempts, done_at_us, code, note, answer FROM delivery
WHERE id = :id AND attempts > 0 AND code <> '' AND done_at_us > 0
ON CONFLICT (delivery, number) DO NOTHING;

-- name: keep_doubt
-- As above: only what is queued is known to be in doubt (`doubt_lane`), and the next unclean stop sets that anew.
UPDATE delivery SET maybe_sent = 1, row_crc = row_crc + ((1 - maybe_sent) << 40)
WHERE id = :id AND +state = 0 AND id <= (SELECT l.doubt_upto FROM lane l WHERE l.id = delivery.lane);

-- name: count_from
INSERT INTO delivery_more (delivery, since_us, counted_from) VALUES (:delivery, :since_us, :counted_from)
ON CONFLICT (delivery) DO UPDATE SET since_us = excluded.since_us, counted_from = excluded.counted_from;

-- name: count_anew
UPDATE delivery_more SET since_us = 0, counted_from = 0 WHERE delivery = :id AND since_us <> 0;

-- name: insert_redirect
INSERT INTO delivery_more (delivery, origin, redirects) VALUES (:delivery, :origin, :redirects);

-- name: delivery_to_redirect
SELECT d.seq, d.lane, d.body, d.crc, c.name, m.received_at_us, ifnull(x.redirects, 0), d.state, b.bytes
FROM delivery d JOIN lane l ON l.id = d.lane JOIN channel c ON c.id = l.channel JOIN message m ON m.seq = d.seq
  LEFT JOIN delivery_more x ON x.delivery = d.id LEFT JOIN whole_body b ON b.id = COALESCE(d.body, m.body)
WHERE d.id = ?;

-- name: redirect_delivery
-- A person's move; an attempt's end is recorded by `record_results`.
UPDATE delivery SET state = 4, next_at_us = 0, done_at_us = :at_us, code = '', note = :note, answer = x'',
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB),
      CAST(next_at_us AS BLOB), CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB),
      CAST(answer AS BLOB))
    + crc_of(CAST(4 AS BLOB), CAST(attempts AS BLOB), CAST(0 AS BLOB), CAST(:at_us AS BLOB),
      CAST('' AS BLOB), CAST(:note AS BLOB), CAST(x'' AS BLOB))
WHERE id = :id;

-- name: amend_ack_of_delivery
-- What the sender is told once a destination has answered. Never a no after a yes.
UPDATE message SET ack_code = :ack_code, ack = :ack,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB),
      CAST(ack_code AS BLOB), CAST(ack AS BLOB))
    + crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB), CAST(:ack_code AS BLOB),
      CAST(:ack AS BLOB))
WHERE seq = (SELECT seq FROM delivery WHERE id = :delivery) AND ack_code <> 'AA';

-- name: message_of_delivery
SELECT seq FROM delivery WHERE id = ?;

-- name: amend_ack
UPDATE message SET ack_code = :ack_code, ack = :ack,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB),
      CAST(ack_code AS BLOB), CAST(ack AS BLOB))
    + crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB), CAST(:ack_code AS BLOB),
      CAST(:ack AS BLOB))
WHERE seq = :seq AND ack_code <> 'AA';

-- name: ack_of_message
SELECT ack_code, ack FROM message WHERE seq = ?;

-- name: findings_of_message
SELECT findings FROM message WHERE seq = ?;

-- name: set_findings
UPDATE message SET findings = :findings,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB),
      CAST(ack_code AS BLOB), CAST(ack AS BLOB))
    + crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(:findings AS BLOB), CAST(ack_code AS BLOB),
      CAST(ack AS BLOB))
WHERE seq = :seq;

-- name: set_sequence
INSERT INTO sequence (channel, sender, last) VALUES /*rows*/(?, ?, ?)/*rows*/
ON CONFLICT (channel, sender) DO UPDATE SET last = excluded.last;

-- name: insert_link
INSERT INTO link (seq, origin) VALUES /*rows*/(?, ?)/*rows*/;

-- name: last_sequences
SELECT s.sender, s.last FROM sequence s JOIN channel c ON c.id = s.channel WHERE c.name = ? AND s.last >= 0;

-- name: move_messages
UPDATE message SET state = v.column2, version = v.column3, findings = v.column4,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB),
      CAST(ack_code AS BLOB), CAST(ack AS BLOB))
    + crc_of(CAST(v.column2 AS BLOB), CAST(v.column3 AS BLOB), CAST(v.column4 AS BLOB), CAST(ack_code AS BLOB),
      CAST(ack AS BLOB))
FROM (VALUES /*rows*/(?, ?, ?, ?)/*rows*/) AS v
WHERE message.seq = v.column1;

-- name: move_parts
-- Fragments, with the message that was made of them.
UPDATE message SET state = v.column2,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB),
      CAST(ack_code AS BLOB), CAST(ack AS BLOB))
    + crc_of(CAST(v.column2 AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB), CAST(ack_code AS BLOB),
      CAST(ack AS BLOB))
FROM (VALUES /*rows*/(?, ?)/*rows*/) AS v
WHERE message.seq = v.column1;

-- name: answer_part
UPDATE message SET ack_code = :ack_code, ack = :ack,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB),
      CAST(ack_code AS BLOB), CAST(ack AS BLOB))
    + crc_of(CAST(state AS BLOB), CAST(version AS BLOB), CAST(findings AS BLOB), CAST(:ack_code AS BLOB),
      CAST(:ack AS BLOB))
WHERE seq = :seq;

-- name: messages_to_move
SELECT seq, channel, state, received_at_us, body, crc FROM message WHERE seq IN (/*rows*/?/*rows*/);

-- name: delivery_states
SELECT id, state FROM delivery WHERE id IN (/*rows*/?/*rows*/);

-- name: move_delivery
-- A person's move; a released one may be tried at once.
UPDATE delivery SET state = :state, next_at_us = 0, done_at_us = :at_us, code = '', note = :note, answer = x'',
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB),
      CAST(next_at_us AS BLOB), CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB),
      CAST(answer AS BLOB))
    + crc_of(CAST(:state AS BLOB), CAST(attempts AS BLOB), CAST(0 AS BLOB), CAST(:at_us AS BLOB),
      CAST('' AS BLOB), CAST(:note AS BLOB), CAST(x'' AS BLOB))
WHERE id = :id;

-- name: quarantine_delivery
-- Its bytes are not what they were: never sent, shown to a person.
UPDATE delivery SET state = 2, done_at_us = :at_us, code = '', note = :note,
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB),
      CAST(next_at_us AS BLOB), CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB),
      CAST(answer AS BLOB))
    + crc_of(CAST(2 AS BLOB), CAST(attempts AS BLOB), CAST(next_at_us AS BLOB),
      CAST(:at_us AS BLOB), CAST('' AS BLOB), CAST(:note AS BLOB), CAST(answer AS BLOB))
WHERE id = :id AND state = 0;

-- name: body_bytes
SELECT bytes FROM whole_body WHERE id = ?;

-- name: queued_of_message
-- What a repeated intake left waiting.
SELECT d.id, l.destination, d.attempts, d.next_at_us, d.maybe_sent, d.crc, d.lane, m.received_at_us, b.bytes, d.key,
  d.urgent, x.since_us, x.counted_from, x.redirects
FROM delivery d JOIN lane l ON l.id = d.lane JOIN message m ON m.seq = d.seq
  LEFT JOIN delivery_more x ON x.delivery = d.id LEFT JOIN whole_body b ON b.id = COALESCE(d.body, m.body)
WHERE d.seq = ? AND +d.state = 0 ORDER BY d.id;

-- name: last_deliveries_of_message
-- The newest delivery of each lane, whose bytes a resend sends again.
SELECT d.lane, l.destination, d.body, d.crc, c.name, m.received_at_us, d.state, b.bytes,
  d.key, d.urgent
FROM delivery d JOIN lane l ON l.id = d.lane JOIN channel c ON c.id = l.channel JOIN message m ON m.seq = d.seq
  LEFT JOIN whole_body b ON b.id = COALESCE(d.body, m.body)
WHERE d.id IN (SELECT max(id) FROM delivery WHERE seq = ? GROUP BY lane) ORDER BY d.id;

-- name: mark_maybe_sent
UPDATE delivery SET maybe_sent = 1, row_crc = row_crc + ((1 - maybe_sent) << 40) WHERE id IN (
  SELECT id FROM delivery WHERE lane = :lane AND state = 0 ORDER BY id LIMIT :window);

-- name: mark_sent
UPDATE delivery SET maybe_sent = 1, row_crc = row_crc + ((1 - maybe_sent) << 40) WHERE id = ?;

-- name: mark_overtaken
-- One that is queued again goes before what may be under way now, which after a kill is then not among the first.
UPDATE delivery SET maybe_sent = 1, row_crc = row_crc + ((1 - maybe_sent) << 40) WHERE id IN (
  SELECT d.id FROM delivery o JOIN lane l ON l.id = o.lane JOIN delivery d ON d.lane = l.id AND d.state = 0 AND d.id > o.id
  WHERE o.id = :id AND o.state <> 0 ORDER BY d.id LIMIT (SELECT l.window FROM delivery o JOIN lane l ON l.id = o.lane WHERE o.id = :id));

-- name: doubt_lane
-- A lane with keys: nobody can tell which of what is queued was under way.
UPDATE lane SET doubt_upto = :upto, doubt_at_us = :at_us WHERE id = :lane;

-- name: lane_order
SELECT order_by, keyed_from FROM lane WHERE id = ?;

-- name: set_lane_order
UPDATE lane SET order_by = :order_by, keyed_from = :keyed_from WHERE id = :lane;

-- name: lanes
SELECT lane.id, channel.name, lane.destination, lane.window, lane.order_by FROM lane JOIN channel ON channel.id = lane.channel;

-- name: channels
SELECT id, name FROM channel;

-- name: set_window
UPDATE lane SET window = :window WHERE id = :lane;

-- name: get_meta
SELECT value FROM meta WHERE key = ?;

-- name: set_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: last_ids
-- The last ids given, also where the newest rows were deleted.
SELECT
  max((SELECT ifnull(max(seq), 0) FROM message), (SELECT ifnull(max(value), 0) FROM meta WHERE key = 'last_seq')),
  max((SELECT ifnull(max(id), 0) FROM delivery), (SELECT ifnull(max(value), 0) FROM meta WHERE key = 'last_delivery')),
  max((SELECT ifnull(max(id), 0) FROM body), (SELECT ifnull(max(value), 0) FROM meta WHERE key = 'last_body')),
  (SELECT ifnull(max(id), 0) FROM channel),
  (SELECT ifnull(max(id), 0) FROM lane);

-- name: newest_received
SELECT received_at_us FROM message ORDER BY seq DESC LIMIT 1;

-- name: last_hour
SELECT hour FROM hour ORDER BY first_seq DESC LIMIT 1;

-- name: recent_receive_ids
SELECT receive_id, seq FROM message ORDER BY seq DESC LIMIT ?;

-- name: find_version
SELECT v.id FROM channel_version v JOIN channel c ON c.id = v.channel WHERE c.name = ? AND v.hash = ?;

-- name: insert_version
INSERT INTO channel_version (channel, hash, recorded_at_us) VALUES (?, ?, ?);

-- name: insert_file
INSERT INTO file (hash, bytes) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING;

-- name: insert_version_file
INSERT INTO channel_version_file (version, path, file) SELECT ?, ?, id FROM file WHERE hash = ?;
