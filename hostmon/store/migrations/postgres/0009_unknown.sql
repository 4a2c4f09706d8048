-- Since when what a host monitor says of its paths does not count, schema 9: a VM was last known to live then, if its path beat.
-- While it is GLOBAL and hears its trunk the column says nothing; of one that answers no more its last heartbeat says it.
ALTER TABLE host_monitor ADD COLUMN unknown_from BIGINT;
