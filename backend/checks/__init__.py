"""Checks of what the processes need, at their start and in `likeness doctor`. They change nothing."""
