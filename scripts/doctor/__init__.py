"""`likeness doctor`: a project and a deployment, checked from outside."""
