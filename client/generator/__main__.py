"""Write the generated modules: `python -m client.generator [DOCUMENT]`, of a document in a file, else of the API's own."""

import json
import sys
from pathlib import Path
from typing import Any

from api.openapi import document, openapi_endpoint
from api.routes import ENDPOINTS
from client.generator import models, operations
from client.generator.annotations import repr_of
from driftlock import __version__

PACKAGE = Path(__file__).parent.parent / "src" / "driftlock_client"


def served() -> dict[str, Any]:
    """The document as this version serves it."""
    return document((*ENDPOINTS, openapi_endpoint(ENDPOINTS, __version__)), __version__)


def modules(openapi: dict[str, Any]) -> dict[str, str]:
    """The generated modules by file name."""
    version = f'"""Version of the API that this client was made from."""\n\nVERSION = {repr_of(openapi["info"]["version"])}\n'
    return {"models.py": models.render(openapi), "operations.py": operations.render(openapi), "version.py": version}


if __name__ == "__main__":
    openapi = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else served()
    for name, text in modules(openapi).items():
        target = PACKAGE / name
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
