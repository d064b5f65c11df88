"""The version, in a file at the bottom of the house: what is written says what wrote it."""

__version__ = "0.1.0"
