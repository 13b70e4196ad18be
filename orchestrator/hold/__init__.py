"""How a driver holds a run: one writer at a time, who survives outages, stops when asked, and leaves nothing behind.

`lease`: which driver may write to a run
`claimed_run`: a run that this driver holds, and its writes
`writer`: stores a stage's results in a thread of its own
`driver_folder`: the files of one driver, named by its fence number
`database_retry`: waits and retries while the database is away or a disk is full
`interrupts`: delays Ctrl-C and SIGTERM until a transaction is over
`control`: pausing and cancelling a run
`overseer`: records incidents, and notices when nothing advances
`pruning`: deletes the checkpoints that no run needs
`record_files`: writes the files of token records, and deletes those that nothing needs
`chain_files`: keeps the children that are evolved ahead until it is their turn to be stored
`orphans`: finds and ends the processes that a dead driver left behind
"""
