"""The scheduler's language: states, records, parsers and flows. No I/O, no transport."""
