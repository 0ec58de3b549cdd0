"""Cases that schemathesis makes of the served OpenAPI document, good ones and bad ones, sent to a real server.

Each answer is compared with the document: its status is declared, and its type, schema and headers are as they are said to be;
there is no error of the server. Half of the cases of a route with a path parameter name something that is there.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

ENDLESS = frozenset({"/v1/events/live"})
"""Its good answers do not end."""
PARTS = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
TIMEOUT_S = 30.0
TURNS_MAX = 10
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@dataclass
class Tally:
    """What came of the cases."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return sum(self.statuses.values())


def operations(document: dict[str, Any]) -> Iterator[Any]:
    """The operations of a document, those last that delete."""
    # Credentials are given: made ones would be refused, and nothing else be seen.
    methods = [operation for path in document["paths"].values() for operation in path.values()]
    for operation in methods:
        operation["security"] = []
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    yield from sorted((it for it in found if it.path not in ENDLESS), key=lambda it: it.method.upper() == "DELETE")


def run(base_url: str, headers: Mapping[str, str], paths: Mapping[str, tuple[str, ...]], cases: int, number: int) -> Tally:
    """Send about `cases` cases, the same for the same `number`; `paths` are values of path parameters that are there."""
    document = requests.get(f"{base_url}/v1/openapi.json", timeout=TIMEOUT_S).json()
    tally = Tally()
    asked = list(operations(document))
    each = max(1, -(-cases // (len(asked) * len(PARTS))))
    for turn in range(TURNS_MAX):  # some operations have few cases, so one turn may not be enough
        if tally.cases < cases:
            _turn(asked, paths, each, number + turn, base_url, headers, tally)
    return tally


def _turn(
    asked: Sequence[Any],
    paths: Mapping[str, tuple[str, ...]],
    each: int,
    number: int,
    base_url: str,
    headers: Mapping[str, str],
    tally: Tally,
) -> None:
    """At most `each` cases of every operation."""
    for operation in asked:
        names = [name for name in paths if f"{{{name}}}" in operation.path and paths[name]]
        known = {name: paths[name][-1] for name in names}
        for mode in PARTS:
            for fixed, count in ((known, each - each // 2), (None, each // 2)) if known else ((None, each),):
                _run(operation, mode, fixed, count, number, base_url, headers, tally)


def _run(
    operation: Any,
    mode: GenerationMode,
    fixed: Mapping[str, str] | None,
    count: int,
    number: int,
    base_url: str,
    headers: Mapping[str, str],
    tally: Tally,
) -> None:
    """Cases of one operation; the first of them that fails is noted."""
    if count < 1:
        return
    given_path = {} if fixed is None else {"path_parameters": dict(fixed)}

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode, **given_path))
    def one(case: Case[Any]) -> None:
        answer = case.call(base_url=base_url, headers=dict(headers), timeout=TIMEOUT_S)
        tally.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as error:
            told = "; ".join(str(it) for it in error.exceptions)
            tally.failures.append(f"{operation.method.upper()} {operation.path}: {told}\n{case.as_curl_command()}")

    try:
        one()
    except Exception as error:  # a strategy that has no cases says so by an exception of its own
        if "Unsatisfiable" not in type(error).__name__:
            raise
