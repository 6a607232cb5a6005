"""Watchers find files that are complete and hand them over: `base` says what they promise, `directory.watch` makes one."""
