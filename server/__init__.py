"""Composition root: the only reader of the environment and the only importer of everything."""
