"""`eva presets`: the configs that come with eva and what each one needs."""

from __future__ import annotations

from dataclasses import asdict

import click

from cli.terminal.formats import print_json
from eva.config.files import presets as preset_names
from eva.config.files import read_preset
from eva.studies.files import study_presets


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def presets(as_json: bool) -> None:
    """List the configs that come with eva and what they need.

    Play one with `eva run NAME`. Print one in full, for editing, with `eva config NAME`.
    """
    catalog = [read_preset(name) for name in preset_names()]
    if as_json:
        print_json([asdict(preset) for preset in catalog])
        return
    for preset in catalog:
        click.echo(
            f"{preset.name}\n  {preset.summary}\n  model {preset.model}, loss {preset.loss}\n  needs {preset.needs}"
        )
    click.echo(f"Studies, for `eva study NAME`: {', '.join(study_presets())}")
