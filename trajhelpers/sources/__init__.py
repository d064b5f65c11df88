"""Where bytes come from: memory, disk, the hub."""
