-- What people and scripts ask, and the exchange of messages, schema 7.

-- Node events and conflicts carry a number of the sequence until they are acknowledged. Those from before come first.
ALTER TABLE node_event ADD COLUMN sequence BIGINT;
ALTER TABLE node_event ADD COLUMN acknowledged_at BIGINT;
ALTER TABLE conflict ADD COLUMN sequence BIGINT;
ALTER TABLE conflict ADD COLUMN acknowledged_at BIGINT;
UPDATE node_event SET sequence = id + (SELECT change_sequence FROM cluster);
UPDATE conflict SET sequence = id + (SELECT change_sequence FROM cluster);

CREATE INDEX node_event_pending ON node_event (sequence) WHERE acknowledged_at IS NULL;
CREATE INDEX node_event_waiting ON node_event (host_monitor_id, sequence) WHERE acknowledged_at IS NULL;
CREATE INDEX conflict_pending ON conflict (kind, sequence) WHERE acknowledged_at IS NULL;

-- As of its last handshake and its last heartbeats.
ALTER TABLE path ADD COLUMN authenticated BIGINT NOT NULL DEFAULT 0 CHECK (authenticated IN (0, 1));
ALTER TABLE path ADD COLUMN guardian BIGINT NOT NULL DEFAULT 0 CHECK (guardian IN (0, 1));
-- Number of its last handshake: agents' incarnations are ordered by it.
ALTER TABLE path ADD COLUMN handshake BIGINT NOT NULL DEFAULT 0;
-- A path that should be there, since when; NULL once it was heard, or nobody waits for it any more. The number is there
-- from when that is reported until it is acknowledged.
ALTER TABLE path ADD COLUMN awaited_since BIGINT;
ALTER TABLE path ADD COLUMN awaited_sequence BIGINT;

CREATE INDEX path_awaited ON path (host_monitor_id, awaited_since) WHERE awaited_since IS NOT NULL;
CREATE INDEX path_not_come ON path (awaited_sequence) WHERE awaited_sequence IS NOT NULL;

-- Kept from running, so that it can run elsewhere.
ALTER TABLE vm ADD COLUMN fenced BIGINT NOT NULL DEFAULT 0 CHECK (fenced IN (0, 1));
-- How often its report was asked for.
ALTER TABLE vm ADD COLUMN message_sequence BIGINT NOT NULL DEFAULT 0;
-- Of the last report that was applied: the agent's incarnation, its number there, the handshake of the path it came by,
-- and the last of any of the VM's paths when it came.
ALTER TABLE vm ADD COLUMN report_incarnation TEXT COLLATE "C";
ALTER TABLE vm ADD COLUMN report_sequence BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vm ADD COLUMN report_handshake BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vm ADD COLUMN report_last_handshake BIGINT NOT NULL DEFAULT 0;

CREATE INDEX vm_fenced ON vm (id) WHERE fenced = 1;

ALTER TABLE message ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
-- Of the path that the report came by, and the last of any of the VM's paths then.
ALTER TABLE message ADD COLUMN handshake BIGINT NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN last_handshake BIGINT NOT NULL DEFAULT 0;

CREATE INDEX message_by_host_monitor ON message (host_monitor_id, state);

-- Tags of requests and messages are numbers of the sequence from now on, and grow on from what they were.
UPDATE cluster SET change_sequence = change_sequence + coalesce((SELECT max(id) FROM node_event), 0)
    + coalesce((SELECT max(id) FROM conflict), 0) + coalesce((SELECT max(tag) FROM request), 0)
    + coalesce((SELECT max(tag) FROM progress), 0)
    + coalesce((SELECT max(tag) FROM message), 0) + coalesce((SELECT max(report_tag) FROM vm), 0);
