#!/bin/sh
# Run once by the PostgreSQL image, when its volume is empty: a role that owns the schema, one that serves, and the database.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --set owner="$OWNER_PASSWORD" --set app="$APP_PASSWORD" <<'SQL'
CREATE ROLE driftlock_owner LOGIN CREATEROLE PASSWORD :'owner';
CREATE ROLE driftlock_app LOGIN NOINHERIT PASSWORD :'app';
CREATE DATABASE driftlock OWNER driftlock_owner;
SQL
