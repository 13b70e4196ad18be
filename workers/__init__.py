"""Everything that touches torch, vLLM, Ray actors and the APIs of language models.

`cluster`: Ray itself: connection, jobs, environments, ending actors
`fleet`: the engines that generate responses
`rewards`: reward models and where they run
`training`: preference pairs in, a verified checkpoint out
`evolvers`: what writes new prompts
`models`: model folders, chat templates, embeddings
`playground`: the micro-world of `eva demo`
`tracking`: MLflow, Weights & Biases, trackio
`datasets`: prompts from the hub; `environments`: prompts and rewards of the `verifiers` package
"""

import os

# Otherwise any Ray call without a cluster starts one, for example a late call during shutdown.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
