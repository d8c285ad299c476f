"""What `polyak.check` looks for, a subject a file, and how it plays an environment to find it."""
