"""What people look at: the live view of jobs and transfers, and the report of what was."""
