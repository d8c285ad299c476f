"""The chapters of the course as Python files in the percent format, and `build`, which makes notebooks and pages."""
