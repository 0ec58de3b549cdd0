"""The modules that are made from the OpenAPI document are not in the repository: a package without them would be broken."""

from pathlib import Path

from setuptools import setup

PACKAGE = Path(__file__).parent / "src" / "driftlock_client"
missing = [name for name in ("models.py", "operations.py", "version.py") if not (PACKAGE / name).exists()]
if missing:
    raise SystemExit(f"{', '.join(missing)} of driftlock_client are not made yet: run `make client` in the repository")
setup()
