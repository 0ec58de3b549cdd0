"""The fold of a stream of spans: put together to traces, and judged by the past of operations and calls."""
