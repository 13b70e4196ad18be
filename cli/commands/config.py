"""`eva config`: a config with every default filled in, or the reference of all keys."""

from __future__ import annotations

import click

from cli import config_reference
from eva.config.files import load_config


@click.command()
@click.argument("config", default="playground")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. training.beta=0.1.")
@click.option("--reference", "explain", is_flag=True, help="Explain every key: its type, default and meaning.")
@click.option("--markdown", is_flag=True, help="With --reference: print the page docs/reference/config.md.")
def config(config: str, overrides: tuple[str, ...], explain: bool, markdown: bool) -> None:
    """Print a config in full, or explain every key.

    CONFIG is a YAML file or a preset (default: playground).
    """
    if markdown and not explain:
        raise click.UsageError("--markdown needs --reference")
    if explain:
        click.echo(config_reference.markdown() if markdown else config_reference.plain_text(), nl=False)
    else:
        click.echo(config_reference.as_yaml(load_config(config, overrides)), nl=False)
