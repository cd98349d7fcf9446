"""What this process counts and measures for Prometheus."""

MULTIPROCESS_DIR = (
    "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's name: where several workers keep their numbers
)
