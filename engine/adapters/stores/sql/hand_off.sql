-- What others have of worklists, and what they do not have yet. A mark names one state of an item: its row, its revision
-- and when that was written, as a row's number may be given again.

-- name: shown_and_not_handed
SELECT item.*, item.id || '.' || item.revision || '.' || item.changed_at_us,
  had.mark, had.is_shown, had.token, had.study_uid, had.step_id
FROM worklist_item AS item INDEXED BY worklist_item_shown
LEFT JOIN hand_off_step AS had
  ON had.hand_off = :hand_off AND had.study_uid = item.study_uid AND had.step_id = item.step_id
WHERE item.worklist = :worklist AND item.status <= 2 AND item.is_held = 0
  AND (had.mark IS NULL OR had.mark <> item.id || '.' || item.revision || '.' || item.changed_at_us)
ORDER BY item.starts_at, item.id LIMIT :most

-- name: handed_and_not_shown
-- Those that are gone (no item), and those that have ended or are held and of which that is not known there.
SELECT had.study_uid, had.step_id, had.mark, had.is_shown, had.token,
  item.id || '.' || item.revision || '.' || item.changed_at_us, item.id
FROM hand_off_step AS had
LEFT JOIN worklist_item AS item
  ON item.worklist = :worklist AND item.study_uid = had.study_uid AND item.step_id = had.step_id
WHERE had.hand_off = :hand_off
  AND (item.id IS NULL OR ((item.status > 2 OR item.is_held <> 0)
    AND had.mark <> item.id || '.' || item.revision || '.' || item.changed_at_us))
ORDER BY had.study_uid, had.step_id LIMIT :most

-- name: item_by_id
SELECT * FROM worklist_item WHERE id = ?

-- name: count_not_handed
SELECT count(*), coalesce(min(item.changed_at_us), 0)
FROM worklist_item AS item INDEXED BY worklist_item_shown
LEFT JOIN hand_off_step AS had
  ON had.hand_off = :hand_off AND had.study_uid = item.study_uid AND had.step_id = item.step_id
WHERE item.worklist = :worklist AND item.status <= 2 AND item.is_held = 0
  AND (had.mark IS NULL OR had.mark <> item.id || '.' || item.revision || '.' || item.changed_at_us)

-- name: count_not_shown
SELECT count(*)
FROM hand_off_step AS had
LEFT JOIN worklist_item AS item
  ON item.worklist = :worklist AND item.study_uid = had.study_uid AND item.step_id = had.step_id
WHERE had.hand_off = :hand_off
  AND (item.id IS NULL OR ((item.status > 2 OR item.is_held <> 0)
    AND had.mark <> item.id || '.' || item.revision || '.' || item.changed_at_us))

-- name: handed
SELECT study_uid, step_id, mark, is_shown, token FROM hand_off_step WHERE hand_off = ?
ORDER BY study_uid, step_id

-- name: hand_offs
SELECT hand_off, sum(is_shown), max(at_us) FROM hand_off_step GROUP BY hand_off ORDER BY hand_off

-- name: put_handed
INSERT INTO hand_off_step (hand_off, study_uid, step_id, mark, is_shown, token, at_us) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hand_off, study_uid, step_id) DO UPDATE SET
  mark = excluded.mark, is_shown = excluded.is_shown, token = excluded.token, at_us = excluded.at_us

-- name: drop_handed
DELETE FROM hand_off_step WHERE hand_off = ? AND study_uid = ? AND step_id = ?
