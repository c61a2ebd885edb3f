"""Scripts behind the figures in the docs, for anyone to run again."""
