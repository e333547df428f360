"""Which data may leave, and the proof that somebody decided."""
