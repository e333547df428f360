"""What a machine is: facts with their sources, read from TOML profiles and the user's own site file."""
