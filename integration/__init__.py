"""What needs a real Slurm, sshd or object store, and the tools that start them on this machine."""
