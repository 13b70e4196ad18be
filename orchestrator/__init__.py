"""The game being played. Read `loop`, `journal` and `driver` first.

`loop`: the algorithm
`creator_update`: the part of it for a creator with weights of its own
`draw`: the part that reads from judged prompts which are informative, and draws some
`ahead`: the part that evolves the next iteration's children while the solver is trained
`journal`: what the loop reads and writes of a run
`driver`: plays a run: joins loop and journal to the workers
`repair`: trains damaged checkpoints again
`averaging`: whether the average of several policies is no worse than they are
`warm_workers`: workers that stay up between runs
`stages`: the stages of an iteration, one module each
`hold`: how a driver holds a run: lease, database retries, pause and cancel
`launch`: new runs, forks and resumed runs, and the launcher that starts their drivers
`studies`: many runs that are compared
`tracking`: sends a run's figures to tracking services
`webhooks`: sends messages about runs to others
`watch`: who hears of progress: listeners and traces
"""
