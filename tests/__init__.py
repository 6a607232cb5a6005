"""Tests; the map is in CONTRIBUTING.md."""
