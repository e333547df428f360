"""Python functions as jobs: pickled, run on the node, and their results or tracebacks brought back."""
