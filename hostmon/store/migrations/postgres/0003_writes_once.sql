-- Writes of a host monitor that are applied once, schema 3: numbered from each start on, so that a batch whose commit
-- was not answered can be given again.
ALTER TABLE host_monitor ADD COLUMN written_up_to BIGINT;
