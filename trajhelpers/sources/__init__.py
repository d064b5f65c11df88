"""Where bytes come from: memory, disk, archives, the hub, stores."""
