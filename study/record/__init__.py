"""The record of a study: its storage, folder, driver and exported files."""
