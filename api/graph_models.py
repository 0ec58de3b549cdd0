"""The service graph as clients see it."""

from pydantic import Field, FiniteFloat

from api.body import Body
from api.evidence_models import Timestamp
from api.models import StreamRef


class Edge(Body):
    """Calls from one service to another."""

    caller: str | None = Field(description="The service that calls, as `namespace/name@environment`; null where traces begin.")
    callee: str = Field(description="The service that is called.")
    calls: int = Field(description="Calls so far.")
    errors: int = Field(description="Calls that failed.")
    p50_s: FiniteFloat = Field(description="Median duration of the recent ones as the caller saw it, in seconds.")
    p99_s: FiniteFloat = Field(description="So long, in seconds, 99 % of the recent ones take at most.")
    first: Timestamp | None = Field(description="Event time of the first call.")
    last: Timestamp | None = Field(description="Event time of the newest call.")


class ServiceGraph(Body):
    """Which services call which, as the spans of a stream told it."""

    stream: StreamRef
    as_of: Timestamp | None = Field(description="Event time of the newest span by then.")
    edges: tuple[Edge, ...] = Field(description="By caller and callee.")
    edges_omitted: int = Field(
        description="Edges that are known but not listed: of more than 2,000 those with the fewest calls."
    )
