"""How others follow a run while it plays.

`listener`: the interface through which the loop reports progress, to a terminal or a log
`tracing`: OpenTelemetry spans of the run, its iterations and stages
"""
