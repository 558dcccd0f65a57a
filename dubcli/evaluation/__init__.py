"""Measures finished videos."""
