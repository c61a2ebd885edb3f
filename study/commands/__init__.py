"""The commands of nad-study beside run, one file each."""
