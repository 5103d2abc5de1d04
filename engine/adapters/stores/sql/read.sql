-- Statements that only read. Every list goes by seq, a page at a time, so that no reader holds the
-- write-ahead log for longer than a page takes.

-- name: known
-- State 4 is rejected: its sender was told to keep it and may have been let in since. (One that was accepted
-- when stored, and rejected by its pipeline afterwards, was not told so.)
SELECT m.seq, m.receive_id, m.channel, m.received_at_us, m.sender, m.peer, m.message_type, m.control_id, m.body_hash,
  m.crc, m.state, m.version, m.findings, m.ack_code, m.ack, m.row_crc
FROM message m
WHERE m.control_id = :control_id AND m.channel = (SELECT id FROM channel WHERE name = :channel) AND m.sender = :sender
  AND m.seq >= :lowest AND m.received_at_us >= :since_us AND (m.state <> 4 OR m.ack_code IN ('AA', 'CA'))
ORDER BY m.seq DESC LIMIT :limit;

-- name: lowest_seq_since
-- The first message that can have been received in this hour or later.
SELECT min(first_seq) FROM hour WHERE hour >= ?;

-- name: seq_after_hour
-- The first message that comes after every one received in this hour or earlier; null: there is none.
SELECT min(first_seq) FROM hour WHERE first_seq > (SELECT max(first_seq) FROM hour WHERE hour <= ?);

-- name: recent_ids
SELECT c.name, m.sender, m.control_id
FROM message m CROSS JOIN channel c ON c.id = m.channel
WHERE m.seq >= :lowest AND m.received_at_us >= :since_us
ORDER BY m.seq DESC LIMIT :limit;

-- name: queued
-- What was queued when a lane with keys was cut short may have been sent, see `doubt_lane`.
SELECT d.id, d.seq, d.attempts, d.next_at_us,
  d.maybe_sent OR d.id <= (SELECT l.doubt_upto FROM lane l WHERE l.id = d.lane),
  d.crc, d.lane, m.received_at_us, b.bytes, d.key, d.urgent, x.since_us, x.counted_from, x.redirects
FROM delivery d INDEXED BY delivery_queued CROSS JOIN message m ON m.seq = d.seq
  LEFT JOIN delivery_more x ON x.delivery = d.id LEFT JOIN whole_body b ON b.id = COALESCE(d.body, m.body)
WHERE d.lane = (SELECT l.id FROM lane l JOIN channel c ON c.id = l.channel
                WHERE c.name = :channel AND l.destination = :destination)
  AND d.state = 0 AND d.id > :after
ORDER BY d.id LIMIT :limit;

-- Rows of lanes with keys, without their bytes: what a lane passes over costs it no more than this.

-- name: queued_rows
SELECT d.id, d.seq, d.key, d.urgent, d.attempts, d.next_at_us,
  (SELECT e.id FROM delivery e INDEXED BY delivery_of_key WHERE e.lane = d.lane AND e.key = d.key AND e.state = 0
    ORDER BY e.id LIMIT 1)
FROM delivery d INDEXED BY delivery_queued
WHERE d.lane = (SELECT l.id FROM lane l JOIN channel c ON c.id = l.channel
                WHERE c.name = :channel AND l.destination = :destination)
  AND d.state = 0 AND d.id > :after
ORDER BY d.id LIMIT :limit;

-- name: queued_before
SELECT d.id FROM delivery d INDEXED BY delivery_queued
WHERE d.lane = (SELECT l.id FROM lane l JOIN channel c ON c.id = l.channel
                WHERE c.name = :channel AND l.destination = :destination)
  AND d.state = 0 AND d.id <= :upto
ORDER BY d.id DESC LIMIT :limit;

-- name: queued_of_key
SELECT d.id, d.seq, d.key, d.urgent, d.attempts, d.next_at_us,
  (SELECT e.id FROM delivery e INDEXED BY delivery_of_key WHERE e.lane = d.lane AND e.key = d.key AND e.state = 0
    ORDER BY e.id LIMIT 1)
FROM delivery d INDEXED BY delivery_of_key
WHERE d.lane = (SELECT l.id FROM lane l JOIN channel c ON c.id = l.channel
                WHERE c.name = :channel AND l.destination = :destination)
  AND d.key = :key AND d.state = 0 AND d.id > :after
ORDER BY d.id LIMIT :limit;

-- name: queued_urgent
SELECT d.id, d.seq, d.key, d.urgent, d.attempts, d.next_at_us,
  (SELECT e.id FROM delivery e INDEXED BY delivery_of_key WHERE e.lane = d.lane AND e.key = d.key AND e.state = 0
    ORDER BY e.id LIMIT 1)
FROM delivery d INDEXED BY delivery_urgent
WHERE d.lane = (SELECT l.id FROM lane l JOIN channel c ON c.id = l.channel
                WHERE c.name = :channel AND l.destination = :destination)
  AND d.state = 0 AND d.urgent = 1 AND d.id > :after
ORDER BY d.id LIMIT :limit;

-- name: queued_waiting
SELECT d.id, d.seq, d.key, d.urgent, d.attempts, d.next_at_us,
  (SELECT e.id FROM delivery e INDEXED BY delivery_of_key WHERE e.lane = d.lane AND e.key = d.key AND e.state = 0
    ORDER BY e.id LIMIT 1)
FROM delivery d INDEXED BY delivery_waiting
WHERE d.lane = (SELECT l.id FROM lane l JOIN channel c ON c.id = l.channel
                WHERE c.name = :channel AND l.destination = :destination)
  AND d.state = 0 AND d.next_at_us > 0 AND d.next_at_us > :after_us
ORDER BY d.next_at_us LIMIT :limit;

-- name: queued_delivery
SELECT d.id, d.seq, d.attempts, d.next_at_us,
  d.maybe_sent OR d.id <= l.doubt_upto,
  d.crc, d.lane, m.received_at_us, b.bytes, d.key, d.urgent, c.name, l.destination, x.since_us, x.counted_from,
  x.redirects
FROM delivery d JOIN lane l ON l.id = d.lane JOIN channel c ON c.id = l.channel JOIN message m ON m.seq = d.seq
  LEFT JOIN delivery_more x ON x.delivery = d.id LEFT JOIN whole_body b ON b.id = COALESCE(d.body, m.body)
WHERE d.id = ? AND +d.state = 0;

-- name: unprocessed
SELECT m.seq FROM message m INDEXED BY message_aside
WHERE (m.state = 0 OR m.state = 3 OR m.state = 4 OR m.state = 5) AND m.state = 0
  AND m.channel = (SELECT id FROM channel WHERE name = :channel) AND m.seq > :after
ORDER BY m.seq LIMIT :limit;

-- name: waiting
SELECT m.seq FROM message m INDEXED BY message_waiting
WHERE m.state = 6 AND m.channel = (SELECT id FROM channel WHERE name = :channel) AND m.seq > :after
ORDER BY m.seq LIMIT :limit;

-- name: message
SELECT m.seq, c.name, m.version, m.received_at_us, m.sender, m.peer, m.message_type, m.control_id, m.state,
  m.ack_code, m.findings, m.crc, m.ack, b.bytes, m.receive_id, m.channel, m.body_hash, m.row_crc, m.keys
FROM message m JOIN channel c ON c.id = m.channel LEFT JOIN whole_body b ON b.id = m.body
WHERE m.seq = ?;

-- name: message_metadata
SELECT m.seq, c.name, m.version, m.received_at_us, m.sender, m.peer, m.message_type, m.control_id, m.state,
  m.ack_code, m.findings, m.crc, m.ack, NULL, m.receive_id, m.channel, m.body_hash, m.row_crc, m.keys
FROM message m JOIN channel c ON c.id = m.channel
WHERE m.seq = ?;

-- name: deliveries
-- `seq` last: before anything else of the row it would be read from the index, and here the row is checked.
SELECT d.id, d.seq, c.name, l.destination, d.state, d.attempts, d.next_at_us, d.done_at_us, d.code, d.note,
  d.maybe_sent OR (d.id <= l.doubt_upto AND (d.done_at_us = 0 OR d.done_at_us >= l.doubt_at_us)),
  d.crc, d.lane, d.answer, b.bytes, d.key, d.urgent, ifnull(x.since_us, 0), x.origin, d.maybe_sent, d.row_crc, d.seq
FROM delivery d JOIN lane l ON l.id = d.lane JOIN channel c ON c.id = l.channel JOIN message m ON m.seq = d.seq
  LEFT JOIN delivery_more x ON x.delivery = d.id LEFT JOIN whole_body b ON :bodies AND b.id = COALESCE(d.body, m.body)
WHERE d.seq = :seq ORDER BY d.id;

-- name: attempts
SELECT a.delivery, a.number, a.at_us, a.code, a.note, a.answer
FROM delivery d JOIN attempt a ON a.delivery = d.id
WHERE d.seq = ? ORDER BY a.delivery, a.number;

-- Lists of messages. Where an index knows the few that can match, it gives candidates and `seq_matches`
-- decides on each; else the newest or oldest are walked. A set of states is a set of bits, 0: no filter.

-- name: newest_seqs
SELECT m.seq FROM message m
WHERE m.seq < :before AND m.seq > :after
  AND (:channel IS NULL OR m.channel = :channel)
  AND (:states = 0 OR :states & (1 << m.state))
  AND m.received_at_us >= :since_us AND m.received_at_us <= :until_us
  AND (:delivery_states = 0 OR EXISTS (
    SELECT 1 FROM delivery d WHERE d.seq = m.seq AND :delivery_states & (1 << d.state)))
ORDER BY m.seq DESC LIMIT :limit;

-- name: oldest_seqs
SELECT m.seq FROM message m
WHERE m.seq < :before AND m.seq > :after
  AND (:channel IS NULL OR m.channel = :channel)
  AND (:states = 0 OR :states & (1 << m.state))
  AND m.received_at_us >= :since_us AND m.received_at_us <= :until_us
  AND (:delivery_states = 0 OR EXISTS (
    SELECT 1 FROM delivery d WHERE d.seq = m.seq AND :delivery_states & (1 << d.state)))
ORDER BY m.seq LIMIT :limit;

-- name: seqs_with_control_id
SELECT m.seq FROM message m INDEXED BY message_by_control_id
WHERE m.control_id = :control_id AND m.seq < :before AND m.seq > :after;

-- name: seqs_aside
-- Received, held, rejected or discarded: few among many.
SELECT m.seq FROM message m INDEXED BY message_aside
WHERE (m.state = 0 OR m.state = 3 OR m.state = 4 OR m.state = 5) AND m.state = :state
  AND m.seq < :before AND m.seq > :after;

-- name: seqs_waiting
SELECT m.seq FROM message m INDEXED BY message_waiting WHERE m.state = 6 AND m.seq < :before AND m.seq > :after;

-- name: seqs_with_queued
SELECT DISTINCT d.seq FROM delivery d INDEXED BY delivery_queued WHERE d.state = 0 LIMIT :limit;

-- name: seqs_with_aside
SELECT DISTINCT d.seq FROM delivery d INDEXED BY delivery_aside
WHERE (d.state = 2 OR d.state = 3) AND d.state = :state LIMIT :limit;

-- name: seqs_redirected
SELECT DISTINCT d.seq FROM delivery_more x INDEXED BY delivery_redirected JOIN delivery d ON d.id = x.origin
WHERE x.origin IS NOT NULL LIMIT :limit;

-- name: seq_matches
SELECT 1 FROM message m
WHERE m.seq = :seq
  AND (:channel IS NULL OR m.channel = :channel)
  AND (:states = 0 OR :states & (1 << m.state))
  AND m.received_at_us >= :since_us AND m.received_at_us <= :until_us
  AND (:delivery_states = 0 OR EXISTS (
    SELECT 1 FROM delivery d WHERE d.seq = m.seq AND :delivery_states & (1 << d.state)));

-- name: queued_depths
SELECT lane, count(*), min(id) FROM delivery INDEXED BY delivery_queued WHERE state = 0 GROUP BY lane;

-- name: held_depths
SELECT lane, count(*) FROM delivery INDEXED BY delivery_aside
WHERE (state = 2 OR state = 3) AND state = 2 GROUP BY lane;

-- name: waiting_depths
SELECT lane, count(*) FROM delivery INDEXED BY delivery_waiting WHERE state = 0 AND next_at_us > 0 GROUP BY lane;

-- name: received_at_of_delivery
SELECT m.received_at_us FROM delivery d JOIN message m ON m.seq = d.seq WHERE d.id = ?;

-- name: lane_names
SELECT l.id, c.name, l.destination FROM lane l JOIN channel c ON c.id = l.channel ORDER BY c.name, l.destination;

-- name: counts
SELECT c.name, t.state, t.messages FROM tally t JOIN channel c ON c.id = t.channel WHERE t.messages <> 0;

-- name: newest_seq
SELECT max(seq) FROM message;

-- name: next_received
SELECT seq, received_at_us FROM message WHERE seq >= ? ORDER BY seq LIMIT 1;

-- name: arrivals
SELECT c.name, m.sender, m.message_type, m.received_at_us / 1800000000, count(*), max(m.received_at_us)
FROM message m JOIN channel c ON c.id = m.channel
WHERE m.seq > :after AND m.seq <= :upto GROUP BY m.channel, m.sender, m.message_type, 4;

-- name: version_files
SELECT vf.path, f.bytes FROM channel_version_file vf JOIN file f ON f.id = vf.file WHERE vf.version = ?;

-- name: version
SELECT id FROM channel_version WHERE id = ?;

-- name: channel_id
SELECT id FROM channel WHERE name = ?;
