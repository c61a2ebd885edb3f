"""What people and programs see of a study, while it runs and afterwards."""
