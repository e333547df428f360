"""How to reach a machine: commands and byte channels, over a local process, the ssh program, or fabric."""
