"""The service graph with names."""

import doctest
from array import array

from driftlock.engine.fold import GraphEdge
from driftlock.engine.limits import Limits
from driftlock.engine.traces import graph
from driftlock.engine.traces.directory import Directory
from driftlock.engine.traces.graph import graph_edges


def test_the_examples_are_true() -> None:
    assert doctest.testmod(graph).failed == 0


def test_edges_have_names_and_stand_in_their_order() -> None:
    directory = Directory(Limits())
    directory.numbers(("shop/b\x1fx\x1f2", "shop/a\x1fx\x1f2"), array("I", [1, 2]))
    edges = [(2, 1, 7, 1, 0.1, 0.2, 5, 9), (0, 2, 8, 0, 0.3, 0.4, 4, 9)]
    assert graph_edges(edges, directory, "prod") == (
        GraphEdge("", "shop/a@prod", 8, 0, 0.3, 0.4, 4, 9),
        GraphEdge("shop/a@prod", "shop/b@prod", 7, 1, 0.1, 0.2, 5, 9),
    )
