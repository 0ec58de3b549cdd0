"""Whether a server could listen on an address, and whether a Driftlock answers there already. Nobody is disturbed by either."""

import socket

import httpx

from server.addresses import Address

ANSWER_S = 2.0
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to connect to who listens everywhere


def bind_error(address: Address, *, shared: bool) -> str | None:
    """Why nobody more can listen there, None where somebody can. `shared`: beside one that allows it (DRIFTLOCK_REUSE_PORT).

    The address is bound and never listened on, so that no connection to who listens there is taken.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind(place)
    except OSError as error:
        return error.strerror or str(error)
    return None


def driftlock_answers(rest: Address) -> bool:
    """Whether a Driftlock's REST answers at this address of ours within `ANSWER_S`."""
    url = f"http://{Address(ANY_HOST.get(rest.host, rest.host), rest.port).text}/v1/version"
    try:
        answer = httpx.get(url, timeout=ANSWER_S, trust_env=False)
        found = answer.json()
    except (httpx.HTTPError, ValueError):
        return False
    return answer.status_code == 200 and isinstance(found, dict) and {"version", "codec", "schema_version"} <= found.keys()
