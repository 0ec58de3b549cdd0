"""Numbered SQL migrations, applied in order by `driftlock.storage.migrate`."""
