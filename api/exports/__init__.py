"""Exports of a run: requested, written in the background, downloaded."""
