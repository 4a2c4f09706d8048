-- What is kept for how long, schema 5: rows are found by their age, so that pruning costs what it removes.

-- When it was first seen, or was seen as another kind of stranger.
ALTER TABLE discovered ADD COLUMN recorded_at INTEGER NOT NULL DEFAULT 0;
UPDATE discovered SET recorded_at = unixepoch() * 1000000;

CREATE INDEX discovered_by_age ON discovered (recorded_at) WHERE sequence IS NULL;
CREATE INDEX node_event_by_age ON node_event (happened_at);
CREATE INDEX conflict_by_age ON conflict (first_seen_at);
CREATE INDEX removed_vm_by_age ON removed_vm (removed_at);
CREATE INDEX event_by_age ON event (recorded_at) WHERE open = 0;
CREATE INDEX message_by_age ON message (asked_at) WHERE state <> 'ARRIVED';
CREATE INDEX quiet_by_end ON quiet (ended_at) WHERE told = 2;
CREATE INDEX quiet_refusal_by_age ON quiet_refusal (refused_at) WHERE told = 1;
