-- What the journal has of partitions of other people's topics, which bridges hand over: all before base, and of what is behind it
-- the messages in done (ranges such as 40-59,61) and, by offset, those that are done in part: {"62": [plan, parts, [part, ...]]}.
-- It is read and written under the shard's lock, by the transaction that journals the records.
create table driftlock.bridged_position (
  shard integer not null references driftlock.journal_shard,
  topic text not null check (octet_length(topic) between 1 and 249),
  topic_id text not null check (octet_length(topic_id) <= 64),
  partition integer not null check (partition >= 0),
  base bigint not null check (base >= 0),
  done text not null,
  parts jsonb not null check (jsonb_typeof(parts) = 'object'),
  advanced_at timestamptz not null default now(),
  primary key (shard, topic, topic_id, partition)
) with (fillfactor = 50);
grant select, insert, update on driftlock.bridged_position to driftlock_node;
