"""Tracking services, each in a child process.

`process`: starts and stops the child, exchanges messages with it
`child`: what runs in the child
`to_mlflow`, `to_wandb`, `to_trackio`: one service each
"""
