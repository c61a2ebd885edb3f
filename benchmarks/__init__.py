"""What the documents claim about speed, for anyone to run again."""
