"""Buckets and web servers as sources: what S3, Google, Azure and their likes keep, and https."""
