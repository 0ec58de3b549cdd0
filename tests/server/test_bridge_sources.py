"""Sources of a bridge are said by settings, and what is wrong with them in one line."""

import json
import re
from typing import Any

import pytest

from server.bridge_sources import Format, parse_sources

TENANT = "00000000-0000-0000-0000-000000000007"
OTLP = {"topic": "otlp_spans", "tenant": TENANT, "signal": "traces"}
LINES = {"topic": "app", "tenant": TENANT, "format": "json", "service": "app"}


def test_sources_are_read() -> None:
    spans, app = parse_sources(json.dumps([OTLP, {**LINES, "stream_id_field": "kubernetes.labels.app"}]))
    assert (spans.format, spans.signal, spans.initial_offset) == (Format.OTLP_PROTO, "traces", "earliest")
    assert (str(app.tenant), app.stream_id_field) == (TENANT, ("kubernetes", "labels", "app"))


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ({}, "use a JSON list"),
        ([], "use a JSON list"),
        ([OTLP, OTLP], "otlp_spans is there twice"),
        ([{"topic": "a"}], "source 1: tenant is missing"),
        ([{**OTLP, "tenant": "acme"}], "tenant: use the tenant's id"),
        ([{**OTLP, "topic": "a b"}], "topic: use at most 249"),
        ([{**OTLP, "formt": "json"}], "'formt' is not a member; did you mean 'format'?"),
        ([{**OTLP, "format": "xml"}], "format: use one of otlp_proto, otlp_json, json, text"),
        ([{**OTLP, "service": "x"}], "service means nothing where format is otlp_proto"),
        ([{"topic": "a", "tenant": TENANT}], "signal is missing"),
        ([{**LINES, "signal": "traces"}], "messages that are json are logs"),
        ([{**LINES, "format": "text", "message_field": "m"}], "message_field means nothing where format is text"),
        ([{"topic": "a", "tenant": TENANT, "format": "text"}], "service is missing"),
        ([{**LINES, "message_field": "a..b"}], "message_field: use at most 16 names"),
        ([{**LINES, "service": 7}], "service: use 1 to 256 bytes"),
    ],
)
def test_what_is_wrong_is_said(sources: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_sources(json.dumps(sources))
