-- What every process of this database signs with, and no client ever sees: such as the key of list cursors.
create table driftlock.shared_secrets (
  name text primary key check (octet_length(name) <= 64),
  value bytea not null check (octet_length(value) between 16 and 64),
  made_at timestamptz not null default now()
);
grant select, insert on driftlock.shared_secrets to driftlock_node;
