"""The doors: one module with a main() for each program and each command of `trollmoves`, which `umbrella` lists.

`starting` is in front of all, `common` what they share. `places` and `ordering` are for the commands that read journals and write
orders into them, `guessing`, `moving` and `doubts` for those that check a configuration, `watching` and the modules that begin
with demo for the demonstration.
"""
