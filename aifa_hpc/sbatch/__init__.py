"""Job and site to the text of an sbatch script, and back."""
