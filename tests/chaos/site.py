"""Everything a chaos test is made of, in one place to import from.

    Clients ──OTLP/gRPC──> Node (driftlock serve) ──Link (a proxy that can break)──> Cluster (PostgreSQL)
                                                                      Tail (reads the journal straight) ──┘

`open_site` joins them: a cluster, a link, a node with a tenant, its key and streams with a small profile, clients, and a tail.
"""

from tests.chaos.clients import Clients
from tests.chaos.cluster import Cluster
from tests.chaos.link import Link
from tests.chaos.node import Node
from tests.chaos.refold import ledger_differences, refold
from tests.chaos.scene import Site, open_site
from tests.chaos.tail import Tail, Verdict

__all__ = ["Clients", "Cluster", "Link", "Node", "Site", "Tail", "Verdict", "ledger_differences", "open_site", "refold"]
