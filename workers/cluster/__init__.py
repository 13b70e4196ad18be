"""Ray: everything about a cluster that is not an engine, a reward model or a trainer.

`connection`: join a cluster, or start one for this process
`local_cluster`: the cluster that `eva serve` keeps on its own machine
`machines`: the machines that a run may use, with their GPUs
`jobs`: drivers as Ray jobs
`access`: whether a cluster can be reached, and who may run programs on it
`environment`: the environment variables of every process that Ray starts for eva
`room`: resources for an actor, asked of the cluster's machines
`secrets`: keys and tokens for the actors that need them
`actors`: end an actor even if its process is frozen
"""
