"""The parts of ``integration/cluster.py``: what a test cluster is made of, and where it runs."""
