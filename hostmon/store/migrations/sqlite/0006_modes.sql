-- Changes of host monitors' modes (GLOBAL, LOCAL, DOWN): the controller tells of each exactly once. Bounded per host
-- monitor.
CREATE TABLE mode_change (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_monitor_id INTEGER NOT NULL REFERENCES host_monitor (id) ON DELETE CASCADE,
    changed_at INTEGER NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('GLOBAL', 'LOCAL', 'DOWN')),
    text TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1))
) STRICT;

CREATE INDEX mode_change_by_host_monitor ON mode_change (host_monitor_id, id);
CREATE INDEX mode_change_untold ON mode_change (id) WHERE told = 0;
