"""A study on a running Ray cluster of several machines."""
