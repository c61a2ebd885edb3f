"""Scripts for maintainers: embedded data and example sheets."""
