"""Settings: text is read once, into frozen values; every problem of a file is listed at once, with its line.

`text` (files, wording of problems) - `ini`, `yaml` (syntax -> mapping with line numbers) - `hidden`, `values` (secrets; text ->
value) - `settings` (every option: name, type, default, help; of other programs: `mirrors`, `moves`, `targets`, `fetching`) -
`reading` (file -> settings of every chain) - `reloading` (what changed, and when) - `sessions` (what movers are told) -
`documenting` (the tables of the manual).
"""
