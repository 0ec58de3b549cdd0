"""Every code of a problem is documented, and occurs in a test besides this one."""

from pathlib import Path

import pytest

from api.problems import KINDS
from driftlock.errors import Code

TESTS = Path(__file__).parent.parent
DOCUMENT = TESTS.parent / "docs" / "rest.md"


@pytest.mark.parametrize("code", sorted(KINDS), ids=str)
def test_a_code_is_documented_and_tested(code: Code) -> None:
    assert f"`{code}`" in DOCUMENT.read_text()
    others = [path for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    texts = (path.read_text() for path in others)
    assert any(f'"{code}"' in text or f"Code.{code.name}" in text for text in texts)
