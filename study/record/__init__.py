"""The record of a study: opening it, holding it, and keeping it whole."""
