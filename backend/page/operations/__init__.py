"""The operator's page: what is at work, what stands still, and the commands that help."""
