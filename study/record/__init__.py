"""The record of a study: its storage, its folder, its driver, and the files written from it."""
