"""Evaluation by win rates: from annotations and battles to figures with intervals.

`answers`: the answer in a response, in a form in which equal answers are equal texts.
`alpaca`: AlpacaEval's annotations to the row of its leaderboard.
`arena`: Arena-Hard's judgments to Bradley-Terry scores.
`baseline`: a run's checkpoints against one baseline.
`baseline_file`: reads a baseline's responses from a file.
`length_control`: AlpacaEval's length-controlled win rate.
`reward_pairs`: pairs of a better and a worse response, to check a rewarder with.
`reward_sanity`: whether a rewarder prefers what it should.
`style`: Arena-Hard's style-controlled scores.
`turns`: later turns of held-out conversations.
`win_rates`: win rates, their differences and self-preference, with bootstrap intervals.
"""
