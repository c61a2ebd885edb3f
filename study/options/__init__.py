"""A study's settings: the config, its parts, and their texts on the command line."""
