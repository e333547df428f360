"""Tools for testing what is built on this package: contract suites, scripted transports, faults. Needs pytest."""
