-- Statements that forget. Only what is finished (states 1, 2, 4, 5, 7: processed, filtered, rejected, discarded, joined)
-- and has nothing queued (0) or held (2) may be named by them.

-- name: young
-- The first message that was received in a later hour than one, and not later than another.
SELECT min(first_seq) FROM hour WHERE hour > ? AND hour <= ?;

-- name: finished
SELECT m.seq, m.channel, m.state, m.body, m.received_at_us < :messages_before AND m.seq < :keep_whole_from
FROM message m
WHERE m.seq > :after AND m.seq <= :upto AND m.received_at_us < :before
  AND (:channel IS NULL OR m.channel = (SELECT id FROM channel WHERE name = :channel))
  AND m.state IN (1, 2, 4, 5, 7)
  AND (m.body IS NOT NULL OR (m.received_at_us < :messages_before AND m.seq < :keep_whole_from))
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.seq = m.seq AND d.state IN (0, 2))
ORDER BY m.seq;

-- name: any_piece
SELECT 1 FROM body_piece LIMIT 1;

-- name: pieces_of
-- Of each message, those of its own bytes and of its deliveries'.
SELECT m.seq, (SELECT count(*) FROM body_piece p WHERE p.body = m.body)
  + (SELECT count(*) FROM delivery d CROSS JOIN body_piece p ON p.body = d.body WHERE d.seq = m.seq)
FROM message m WHERE m.seq IN (/*rows*/?/*rows*/);

-- name: bytes_of
-- As above, in bytes that are in no piece; their length is known without reading them.
SELECT m.seq, ifnull((SELECT length(b.bytes) FROM body b WHERE b.id = m.body), 0)
  + (SELECT total(length(b.bytes)) FROM delivery d CROSS JOIN body b ON b.id = d.body WHERE d.seq = m.seq)
FROM message m WHERE m.seq IN (/*rows*/?/*rows*/);

-- name: delete_bodies
DELETE FROM body WHERE id IN (/*rows*/?/*rows*/);

-- name: delete_bodies_of_deliveries
DELETE FROM body WHERE id IN (SELECT d.body FROM delivery d WHERE d.seq IN (/*rows*/?/*rows*/) AND d.body IS NOT NULL);

-- name: empty_messages
UPDATE message SET body = NULL WHERE seq IN (/*rows*/?/*rows*/);

-- name: empty_deliveries
UPDATE delivery SET body = NULL, answer = x'',
  row_crc = row_crc - crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB),
      CAST(next_at_us AS BLOB), CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB),
      CAST(answer AS BLOB))
    + crc_of(CAST(state AS BLOB), CAST(attempts AS BLOB), CAST(next_at_us AS BLOB),
      CAST(done_at_us AS BLOB), CAST(code AS BLOB), CAST(note AS BLOB), CAST(x'' AS BLOB))
WHERE seq IN (/*rows*/?/*rows*/);

-- name: empty_attempts
UPDATE attempt SET answer = x'' WHERE delivery IN (SELECT id FROM delivery WHERE seq IN (/*rows*/?/*rows*/));

-- name: delete_attempts
DELETE FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE seq IN (/*rows*/?/*rows*/));

-- name: delete_more
DELETE FROM delivery_more WHERE delivery IN (SELECT id FROM delivery WHERE seq IN (/*rows*/?/*rows*/));

-- name: delete_deliveries
DELETE FROM delivery WHERE seq IN (/*rows*/?/*rows*/);

-- name: delete_messages
DELETE FROM message WHERE seq IN (/*rows*/?/*rows*/);

-- name: delete_links
DELETE FROM link WHERE seq IN (/*rows*/?/*rows*/);
