"""`jvs completion`."""

from __future__ import annotations

import click

from jvs.cli.ui import Json, Ui
from jvs.cli.verb import verb

EXAMPLES = """
eval "$(jvs completion bash)"                                # in ~/.bashrc
eval "$(jvs completion zsh)"                                 # in ~/.zshrc
jvs completion fish > ~/.config/fish/completions/jvs.fish
"""


@verb("completion", examples=EXAMPLES, fields={"shell": "the shell", "script": "what it is to run"})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(ui: Ui, shell: str) -> int:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from jvs.cli.main import COMPLETE, cli

    made = get_completion_class(shell)
    assert made is not None
    script = made(cli, {}, "jvs", COMPLETE).source()

    def value() -> Json:
        return {"shell": shell, "script": script}

    return ui.show(value, lambda: [script], [script])
