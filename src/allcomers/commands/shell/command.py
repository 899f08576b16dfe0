"""`allcomers completions SHELL`: print a script that completes commands, flags and values in bash, zsh or fish.

The scripts have all words in them, so that a shell need not start Python for each Tab.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from allcomers.commands.arguments import print_help
from allcomers.commands.shell import reference
from allcomers.commands.shell.reference import Flag
from allcomers.config.checks import similar
from allcomers.errors import ConfigError

_HELP: Final = """\
usage: allcomers completions bash|zsh|fish

Print a script that completes commands, flags and values in this shell:

  bash   eval "$(allcomers completions bash)"       in ~/.bashrc
  zsh    eval "$(allcomers completions zsh)"        in ~/.zshrc, after compinit
  fish   allcomers completions fish | source        in ~/.config/fish/config.fish
"""


def main(arguments: Sequence[str]) -> int:
    """Print the script of a shell; return 0. Raises ConfigError."""
    if list(arguments) in (["-h"], ["--help"]):
        print_help(_HELP)
        return 0
    shell = arguments[0] if len(arguments) == 1 else ""
    if shell not in SCRIPTS:
        hint = similar(shell, SCRIPTS)
        raise ConfigError(f"allcomers completions takes one of {', '.join(SCRIPTS)}{hint}")
    from allcomers.commands.main import COMMANDS

    print(SCRIPTS[shell]({name: reference.flags(name) for name in COMMANDS}), end="")
    return 0


def _quoted(text: str) -> str:
    """Return `text` as a word of a shell, each of which takes it as it is between single quotes."""
    return f"'{_plain(text)}'"


def _plain(text: str) -> str:
    return " ".join(text.replace("\\", "/").replace("'", '"').split())


# ------------------------------------------------------------ bash


def _bash(commands: dict[str, list[Flag]]) -> str:
    values, words = [], []
    for command, flags in commands.items():
        for flag in flags:
            pattern = "|".join(f"{command}:{name}" for name in flag.names)
            if flag.choices:
                values.append(f"        {pattern}) words={_quoted(' '.join(flag.choices))} ;;")
            elif flag.value:
                values.append(f"        {pattern}) return ;;")
        words.append(
            f"        {command}:-*) words={_quoted(' '.join(name for flag in flags for name in flag.names))} ;;"
        )
    return f"""\
_allcomers() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} command=${{COMP_WORDS[1]}} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W {_quoted(" ".join(commands))} -- "$word"))
        return
    fi
    case $command:$before in
        completions:completions) words={_quoted(" ".join(SCRIPTS))} ;;
{chr(10).join(values)}
    esac
    [ -n "$words" ] || case $command:$word in
{chr(10).join(words)}
    esac
    [ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _allcomers allcomers
"""


# ------------------------------------------------------------ zsh


def _zsh(commands: dict[str, list[Flag]]) -> str:
    cases = "\n".join(
        f"    {command}) _arguments {' '.join(_zsh_flag(flag, name) for flag in flags for name in flag.names)} "
        f"{_zsh_rest(command)} ;;"
        for command, flags in commands.items()
    )
    return f"""\
#compdef allcomers
_allcomers() {{
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(commands)}
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT -= 1 ))
  case $command in
{cases}
  esac
}}
if [ "$funcstack[1]" = _allcomers ]; then _allcomers "$@"; else compdef _allcomers allcomers; fi
"""


def _zsh_flag(flag: Flag, name: str) -> str:
    text = "".join(f"\\{letter}" if letter in "[]:" else letter for letter in _plain(flag.help))
    action = f"({' '.join(flag.choices)})" if flag.choices else "_files" if flag.is_file else ""
    value = f":{_plain(flag.value).replace(':', ' ')}:{action}" if flag.value else ""
    return f"'*{name}[{text}]{value}'"


def _zsh_rest(command: str) -> str:
    return f"'*::shell:({' '.join(SCRIPTS)})'" if command == "completions" else "'*:target:_files'"


# ------------------------------------------------------------ fish


def _fish(commands: dict[str, list[Flag]]) -> str:
    lines = [f"complete -c allcomers -n __fish_use_subcommand -x -a {_quoted(' '.join(commands))}"]
    for command, flags in commands.items():
        start = f"complete -c allcomers -n '__fish_seen_subcommand_from {command}'"
        if command == "completions":
            lines.append(f"{start} -x -a {_quoted(' '.join(SCRIPTS))}")
        for flag in flags:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            value = f" -x -a {_quoted(' '.join(flag.choices))}" if flag.choices else " -r" if flag.value else ""
            lines.append(f"{start} {names}{value} -d {_quoted(flag.help)}")
    return "\n".join(lines) + "\n"


SCRIPTS: Final[dict[str, Callable[[dict[str, list[Flag]]], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""{shell: the function that makes its script}."""
