"""All SQL: embedded PostgreSQL, migrations, the journal, one module a table."""
