-- Reading the journal back: for comparing releases, for whole traces and for charts of series.
--
-- Until now bodies were none of the API's business. What a tenant has sent it may read again: row-level security shows it its
-- own rows, as before, and nothing of it can be changed. The states of metrics streams say which series there are.

grant select (received_ns, crc, body) on driftlock.journal to driftlock_api;
grant select (tenant_id, stream_id, seq, crc, state) on driftlock.stream_checkpoints to driftlock_api;

revoke execute on all functions in schema driftlock from public;
