"""What to run: the job description, and whether a site will take it."""
