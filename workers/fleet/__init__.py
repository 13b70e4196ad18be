"""The fleet: vLLM engines in Ray actors that serve one policy.

`fleet`: all engines as one generator of responses; loads policies
`dispatch`: which engine gets which prompt, and what happens when an engine dies
`run_ahead`: the thread that feeds the engines while the driver is busy
`recovery`: when a dead engine is replaced
`engine_actors`: the engines as Ray actors
`engine`: one vLLM engine in its process
`adapter_room`: the room that an engine has for an adapter
`model_interface`: whether engines can exchange the weights of two models
`placement`: what an engine gets of a machine
`proof`: whether an engine serves the policy that it should
`serving_view`: the folder that an engine loads a checkpoint from
"""
