"""Where events go: a file of JSON lines, a webhook, metrics for Prometheus, runs of MLflow."""
