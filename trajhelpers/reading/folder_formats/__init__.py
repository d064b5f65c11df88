"""Folders that are one checkpoint, of files that single ranks wrote: one file a format."""
