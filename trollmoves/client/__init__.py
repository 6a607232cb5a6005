"""The client: `client` is the program, `chain` the life of a file in one section of it, on one screen. The rules that need no
socket, journal or clock are in `deciding`, `held_up` and `providers`."""
