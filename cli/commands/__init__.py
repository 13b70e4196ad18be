"""The commands: `eva NAME` is the function NAME in the module NAME; `cli.main.COMMANDS` lists them with their help.

- playing: `demo`, `run`, `submit`, `drive`, `resume`, `pause`, `cancel`, `fork`
- looking: `runs`, `show`, `watch`, `events`, `logs`, `lineage`, `compare`
- analysing: `replay`, `fingerprint`, `evaluate`
- taking away: `export`, `report`, `checkpoints`
- the service: `serve`, `keys`
- setting up: `doctor`, `presets`, `config`
"""
