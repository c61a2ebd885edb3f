"""The report as HTML pages and their templates."""
