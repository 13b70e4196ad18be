"""Adapters that engines load in place of merged weights.

`adapter_files`: the adapter beside a checkpoint's merged weights
"""
