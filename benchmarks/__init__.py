"""Benchmarks behind the claims about performance and reliability, each against a baseline; `make bench` runs them.

`estimate`, `novelty`: the creator's arithmetic. `dispatch`: scheduling of prompts, simulated.
`generation`, `plain_vllm`: the generation stage against plain vLLM. `streaming`: storing results.
`evolving`: evolving against distilabel. `service`, `dashboard`: reads over a large run. `chaos`: killed drivers.
`measuring`: timing and printing.
"""
