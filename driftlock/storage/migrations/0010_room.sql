-- A journal that has less room left gives up applied rows before the window of resends is over: else it would be full while
-- nothing waits to be applied.

drop function driftlock.journal_truncate(integer, bigint, bigint, integer);

-- Deletes up to p_rows_max rows that are applied and that no fold would have to read again, from the beginning: those received
-- before p_before_ns, and later ones while the journal has more than p_bytes_kept. Also forgets as many requests from before
-- p_before_ns. Returns the number of rows.
create function driftlock.journal_truncate(p_shard integer, p_epoch bigint, p_before_ns bigint, p_bytes_kept bigint, p_rows_max integer)
returns integer
language plpgsql
as $$
declare
  v_shard driftlock.journal_shard;
  v_applied bigint;
  v_floor bigint;
  v_last bigint;
  v_bytes bigint;
  v_rows integer;
begin
  -- What recovery needs is read before the lock that appends wait for: it only ever moves forward.
  select p.applied_seq into strict v_applied from driftlock.journal_position p where p.shard = p_shard;
  select least(
      v_applied,
      (select min(f.after_previous) - 1 from driftlock.stream_folds(p_shard) f where f.after_newest is not null),
      (select min(f.after_previous) - 1 from driftlock.tenant_folds(p_shard) f where f.after_newest is not null))
    into v_floor;

  select * into strict v_shard from driftlock.journal_shard s where s.shard = p_shard for update;
  if v_shard.epoch <> p_epoch then
    raise exception 'stale epoch' using errcode = 'ZD001';
  end if;

  -- The beginning of the journal up to the first row that has to stay. Resends are recognised by journal_request alone, so the
  -- window is a convenience for whoever looks into the journal, and gives way to new rows.
  select max(h.seq) filter (where not h.stays) into v_last from (
    select b.seq, bool_or(b.received_ns >= p_before_ns and v_shard.bytes <= p_bytes_kept) over (order by b.seq) as stays
      from (
        select j.seq, j.received_ns from driftlock.journal j
         where j.shard = p_shard and j.seq > v_shard.truncated_seq and j.seq <= v_floor order by j.seq limit p_rows_max
      ) b
  ) h;
  if v_last > v_applied then
    raise exception 'row % is not applied yet', v_last using errcode = 'ZD003';
  end if;

  with gone as (
    delete from driftlock.journal j where j.shard = p_shard and j.seq <= v_last
    returning driftlock.journal_row_bytes(j.body) as size
  )
  select count(*), coalesce(sum(size), 0) into v_rows, v_bytes from gone;
  update driftlock.journal_shard s set bytes = s.bytes - v_bytes, truncated_seq = coalesce(v_last, s.truncated_seq)
   where s.shard = p_shard;

  delete from driftlock.journal_request r where (r.tenant_id, r.hash) in (
    select o.tenant_id, o.hash from driftlock.journal_request o where o.received_ns < p_before_ns limit p_rows_max
  );
  return v_rows;
end
$$;

revoke execute on function driftlock.journal_truncate(integer, bigint, bigint, bigint, integer) from public;
grant execute on function driftlock.journal_truncate(integer, bigint, bigint, bigint, integer) to driftlock_node;
