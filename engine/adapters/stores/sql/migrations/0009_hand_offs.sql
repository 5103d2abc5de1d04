-- Steps that others have of our worklists: files of a folder, items of an Orthanc, of an archive.
-- `mark`: which state of the item they have. `is_shown`: as one that scanners see. `token`: what the one who has it said
-- of it, to know it again by.
CREATE TABLE hand_off_step (
  hand_off TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  step_id TEXT NOT NULL,
  mark TEXT NOT NULL,
  is_shown INTEGER NOT NULL,
  token TEXT NOT NULL,
  at_us INTEGER NOT NULL,
  PRIMARY KEY (hand_off, study_uid, step_id)
) WITHOUT ROWID;
