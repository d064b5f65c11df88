"""The command line, a file a command: what it takes (`add`) and what it does (`run`)."""
