"""Submitting once and following jobs until they are proven done: store, poll, and the connection users hold."""
