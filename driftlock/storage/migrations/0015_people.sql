-- People: who has signed in, which tenants are theirs, and who is invited.

-- Somebody that a sign-in provider vouches for, known by provider and subject and by nothing else. They belong to no tenant:
-- tenants are theirs. A person is there as long as they are a member of something.
create table driftlock.users (
  id uuid primary key default driftlock.uuid_v7(),
  issuer text not null check (octet_length(issuer) between 1 and 256),
  subject text not null check (octet_length(subject) between 1 and 512),
  email text not null check (octet_length(email) <= 254),
  name text not null check (octet_length(name) <= 200),
  created_at timestamptz not null default now(),
  unique (issuer, subject)
);

create table driftlock.members (
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  user_id uuid not null references driftlock.users,
  role text not null check (role in ('viewer', 'member', 'owner')),
  founder boolean not null default false,  -- whether the tenant was made by this person's signing up
  since timestamptz not null default now(),
  primary key (tenant_id, user_id)
);
create index members_by_user on driftlock.members (user_id);
create index members_by_time on driftlock.members (tenant_id, since, user_id);

-- The token of an invitation is known to whom it was shown; here is its SHA-256. One that is accepted or withdrawn is gone.
create table driftlock.invitations (
  id uuid primary key default driftlock.uuid_v7(),
  tenant_id uuid not null references driftlock.tenants on delete cascade,
  digest bytea not null unique check (octet_length(digest) = 32),
  email text not null check (octet_length(email) between 3 and 254),
  role text not null check (role in ('viewer', 'member', 'owner')),
  invited_by text not null check (octet_length(invited_by) <= 512),
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index invitations_by_time on driftlock.invitations (tenant_id, created_at desc, id desc);

alter table driftlock.members enable row level security;
alter table driftlock.members force row level security;
create policy tenant on driftlock.members to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.members to driftlock_node using (true) with check (true);

alter table driftlock.invitations enable row level security;
alter table driftlock.invitations force row level security;
create policy tenant on driftlock.invitations to driftlock_api
  using (tenant_id = (select driftlock.current_tenant())) with check (tenant_id = (select driftlock.current_tenant()));
create policy node on driftlock.invitations to driftlock_node using (true) with check (true);

-- A tenant sees its own members, and nobody else.
alter table driftlock.users enable row level security;
alter table driftlock.users force row level security;
create policy members on driftlock.users to driftlock_api
  using (exists (select from driftlock.members m where m.user_id = users.id and m.tenant_id = (select driftlock.current_tenant())))
  with check (false);
create policy node on driftlock.users to driftlock_node using (true) with check (true);

grant select on driftlock.users, driftlock.members, driftlock.invitations to driftlock_api;
-- People are looked up before their tenant is known, and what changes them looks at several rows at once.
grant select, insert, update, delete on driftlock.users, driftlock.members to driftlock_node;
grant select, insert, delete on driftlock.invitations to driftlock_node;
-- The first key of a tenant is made in the transaction that makes the tenant.
grant insert on driftlock.api_keys to driftlock_node;

-- Nothing is kept of somebody who is not a member of anything any more, however they ceased to be.
create function driftlock.members_gone() returns trigger
language plpgsql
as $$
begin
  -- In order: whoever locks several of them does it so.
  perform from driftlock.users u where u.id in (select g.user_id from gone g) order by u.id for update;
  delete from driftlock.users u
   where u.id in (select g.user_id from gone g) and not exists (select from driftlock.members m where m.user_id = u.id);
  return null;
end
$$;
create trigger members_gone after delete on driftlock.members
  referencing old table as gone for each statement execute function driftlock.members_gone();

revoke execute on all functions in schema driftlock from public;
