"""What a file or a folder says: formats, the records of zip files, names and steps, one layout."""
