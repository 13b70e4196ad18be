"""Exports of a run: asked for, written meanwhile, taken away."""
