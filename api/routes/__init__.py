"""The endpoints, one module a resource."""

from api.endpoint import Endpoint
from api.routes import anomalies, budget, demo, detect, incidents, profiles, streams, system

ENDPOINTS: tuple[Endpoint, ...] = (
    *system.ENDPOINTS,
    *detect.ENDPOINTS,
    *anomalies.ENDPOINTS,
    *incidents.ENDPOINTS,
    *streams.ENDPOINTS,
    *profiles.ENDPOINTS,
    *budget.ENDPOINTS,
    *demo.ENDPOINTS,
)
