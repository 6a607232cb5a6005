"""remove_it: removes old files and empty directories, but never what a journal says waits to be delivered.

`settings` reads the configuration, `tree` goes through directories without following links, `waiting` asks the journals,
`cleaning` puts them together, `telling` publishes what was removed.
"""
