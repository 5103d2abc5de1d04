-- Searches: a piece at a time, the newest first. A set of states is a set of bits; both 0: no filter.

-- name: newest
SELECT max(seq) FROM message;

-- name: find_walk
SELECT m.seq FROM message m
WHERE m.seq < :before AND m.seq > :after
  AND (:channel IS NULL OR m.channel = :channel)
  AND (:channels IS NULL OR instr(:channels, ',' || m.channel || ','))
  AND m.received_at_us >= :since_us AND m.received_at_us <= :until_us
  AND (:type IS NULL OR m.message_type = :type OR substr(m.message_type, 1, length(:type) + 1) = :type || '^')
  AND (:sender IS NULL OR instr('|' || lower(m.sender) || '|', :sender))
  AND ((:states = 0 AND :delivery_states = 0) OR :states & (1 << m.state)
    OR (:delivery_states <> 0 AND EXISTS (
      SELECT 1 FROM delivery d WHERE d.seq = m.seq AND :delivery_states & (1 << d.state))))
ORDER BY m.seq DESC LIMIT :limit;

-- name: find_in_text
-- `text_1` to `text_6`: ways to write one text, small letters of ASCII; null: there is none.
SELECT m.seq FROM message m CROSS JOIN whole_body b ON b.id = m.body
WHERE m.seq < :before AND m.seq > :after
  AND (:channel IS NULL OR m.channel = :channel)
  AND (:channels IS NULL OR instr(:channels, ',' || m.channel || ','))
  AND m.received_at_us >= :since_us AND m.received_at_us <= :until_us
  AND (:type IS NULL OR m.message_type = :type OR substr(m.message_type, 1, length(:type) + 1) = :type || '^')
  AND (:sender IS NULL OR instr('|' || lower(m.sender) || '|', :sender))
  AND ((:states = 0 AND :delivery_states = 0) OR :states & (1 << m.state)
    OR (:delivery_states <> 0 AND EXISTS (
      SELECT 1 FROM delivery d WHERE d.seq = m.seq AND :delivery_states & (1 << d.state))))
  AND (instr(CAST(lower(CAST(b.bytes AS TEXT)) AS BLOB), :text_1)
    OR (:text_2 IS NOT NULL AND instr(CAST(lower(CAST(b.bytes AS TEXT)) AS BLOB), :text_2))
    OR (:text_3 IS NOT NULL AND instr(CAST(lower(CAST(b.bytes AS TEXT)) AS BLOB), :text_3))
    OR (:text_4 IS NOT NULL AND instr(CAST(lower(CAST(b.bytes AS TEXT)) AS BLOB), :text_4))
    OR (:text_5 IS NOT NULL AND instr(CAST(lower(CAST(b.bytes AS TEXT)) AS BLOB), :text_5))
    OR (:text_6 IS NOT NULL AND instr(CAST(lower(CAST(b.bytes AS TEXT)) AS BLOB), :text_6)))
ORDER BY m.seq DESC LIMIT :limit;

-- name: find_matches
SELECT 1 FROM message m
WHERE m.seq = :seq
  AND (:channel IS NULL OR m.channel = :channel)
  AND (:channels IS NULL OR instr(:channels, ',' || m.channel || ','))
  AND m.received_at_us >= :since_us AND m.received_at_us <= :until_us
  AND (:type IS NULL OR m.message_type = :type OR substr(m.message_type, 1, length(:type) + 1) = :type || '^')
  AND (:sender IS NULL OR instr('|' || lower(m.sender) || '|', :sender))
  AND ((:states = 0 AND :delivery_states = 0) OR :states & (1 << m.state)
    OR (:delivery_states <> 0 AND EXISTS (
      SELECT 1 FROM delivery d WHERE d.seq = m.seq AND :delivery_states & (1 << d.state))));

-- name: keys_of_message
SELECT keys, control_id FROM message WHERE seq = ?;

-- name: entries_of_bucket
SELECT b.number, e.entries, e.crc FROM key_block b CROSS JOIN key_entry e ON e.id = b.number * 128 + :bucket
WHERE b.number >= :lowest AND b.number <= :highest ORDER BY b.number DESC;

-- name: keys_of_range
SELECT seq, keys FROM message WHERE seq > :after AND seq < :before AND keys IS NOT NULL AND instr(keys, :hash);

-- name: newest_with_control_id
SELECT m.seq FROM message m INDEXED BY message_by_control_id
WHERE m.control_id = :control_id AND m.seq < :before AND m.seq > :after ORDER BY m.seq DESC LIMIT :limit;
