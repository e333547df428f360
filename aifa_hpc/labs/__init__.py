"""Data labs: who publishes which data sets, and their copies at sites and in buckets, kept up to date from cron."""
