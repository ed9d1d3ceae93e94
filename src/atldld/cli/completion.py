"""`atldld completion`: what makes a shell complete commands, options, genes and ids."""

from typing import Annotated, Literal

from atldld.cli.complete import SCRIPTS
from atldld.cli.declare import Argument
from atldld.cli.terminal import answer_lines


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Argument(help="Which shell.")],
) -> None:
    """Print what makes a shell complete commands, genes and ids.

    For bash: eval "$(atldld completion bash)" in ~/.bashrc. For zsh: the same with zsh in
    ~/.zshrc. For fish: atldld completion fish > ~/.config/fish/completions/atldld.fish. Genes and
    structures come from the catalogue (`atldld catalogue update`), ids from the cache.
    """
    answer_lines(SCRIPTS[shell].rstrip("\n"))
