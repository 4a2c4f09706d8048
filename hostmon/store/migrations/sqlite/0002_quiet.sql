-- Announced silences, schema 2: a guest says QUIET, and may be silent for as long as was granted.

-- One row from its beginning to its end, however often it was prolonged or shortened meanwhile. In force while
-- `ended_at` is NULL: it ends when a host monitor says so, which measures it on its monotonic clock, and not because
-- this store's clock has passed some time. Kept for an hour after its end, for the budget; bounded per VM.
CREATE TABLE quiet (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    -- Of the latest announcement; grows. Host monitors tell by it whether they know it already.
    sequence INTEGER NOT NULL,
    announced_at INTEGER NOT NULL,
    granted_us INTEGER NOT NULL CHECK (granted_us > 0),
    reason TEXT NOT NULL,
    -- How long it was in force before the latest announcement; once it ended: in all.
    lasted_us INTEGER NOT NULL CHECK (lasted_us >= 0),
    ended_at INTEGER,
    ended_by TEXT CHECK (ended_by IN ('GUEST', 'EXPIRY') AND (ended_by IS NULL) = (ended_at IS NULL)),
    -- 0: nobody was told yet. 1: of its beginning. 2: of its end too.
    told INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1, 2))
) STRICT;

CREATE UNIQUE INDEX quiet_in_force ON quiet (vm_id) WHERE ended_at IS NULL;
CREATE INDEX quiet_by_vm ON quiet (vm_id, id);
CREATE INDEX quiet_untold ON quiet (id) WHERE told < 2;

-- The last refusal of each VM, until one is granted again: a guest that asks without end is told of once an hour.
CREATE TABLE quiet_refusal (
    vm_id INTEGER PRIMARY KEY REFERENCES vm (id) ON DELETE CASCADE,
    refused_at INTEGER NOT NULL,
    asked_us INTEGER NOT NULL,
    reason TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1))
) STRICT;

-- End of its latest announced silence: silence before this moment is not counted, though it is shown.
ALTER TABLE vm ADD COLUMN quiet_ended_at INTEGER;
