"""Both SSH transports against real servers."""
