"""Correlation: the fold of a tenant, which tells what of all its streams' findings is one incident, and what may alert."""
