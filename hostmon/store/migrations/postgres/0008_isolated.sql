-- Host monitors that are isolated, schema 8: their own trunk adapter is down or the trunk's canary is silent. Shown as a bit
-- of the node's reason; that their paths are unknown is in `blind`.
ALTER TABLE host_monitor ADD COLUMN isolated BIGINT NOT NULL DEFAULT 0 CHECK (isolated IN (0, 1));
