"""Replay: lines of files, each with its own time, sent as OTLP logs over one ordered connection."""
