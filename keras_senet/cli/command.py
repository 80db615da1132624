"""From the words of the command line to a verb, and from its end to an exit code."""

import contextlib
import dataclasses
import importlib
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from keras_senet.cli.quiet import be_quiet
from keras_senet.utils.errors import nearest
from keras_senet.utils.names import visible
from keras_senet.version import __version__

# Verb -> what it does; `parse` reads what follows it.
VERBS = {
    "quickstart": "train, evaluate, export and verify a network on the bundled images",
    "train": "train a network by a recipe",
    "finetune": "fine-tune a trained network on your own images, report and export",
    "evaluate": "measure the accuracy of a model or an exported file",
    "predict": "name what is on images",
    "export": "write a file for a server or a phone, and verify it",
    "variants": "write all kinds of .tflite files of a model, and compare them",
    "convert": "convert a timm, PyTorch or Keras checkpoint",
    "list": "list the networks, or with --weights the checkpoints",
    "info": "describe a network or a model file",
    "benchmark": "measure speed and memory, or with data the input pipeline",
    "explain": "show what a network's gates do, and which SE layers are not needed",
}

# What bash and zsh run for `eval "$(keras-senet --completion)"`.
_COMPLETION = """\
[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit
_keras_senet() {
    local words
    words=$(keras-senet --complete "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2> /dev/null)
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _keras_senet keras-senet"""

_Record = TypeVar("_Record")


class UsageError(Exception):
    """The command line does not make sense."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after "keras-senet"; None is those of this process.

    Returns:
        The exit code: 0 for success, 1 for an error, 2 for a command that makes no
        sense, 130 after ctrl-C, 141 where nobody reads on, 143 after a training that
        SIGTERM stopped.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    # TensorFlow leaves it off without AVX-512; training takes 2.5 times as long then.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if argv is None:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed, as `>&-` does
                setattr(sys, name, io.StringIO())
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # names that it cannot write
        if not debug:
            be_quiet()
    interrupts = _watch_signals() if argv is None else []
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        if interrupts and not code:  # something took it for an error of its own
            return _fail("interrupted", 130)
        return code
    except BrokenPipeError:  # `| head` has seen enough
        _drop_output()
        return 141
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except UsageError as error:
        return _fail(str(error), 2)
    except Exception as error:
        if debug:
            traceback.print_exc()
        if interrupts:  # native code that is being imported makes others of it
            return _fail("interrupted", 130)
        text = _describe(error, debug)
        if isinstance(error, OSError) and error.errno and not error.filename:
            text = _lost_output() or text
        return _fail(text, 1)
    finally:
        if argv is None:  # What is left to do is short.
            for name in ("SIGINT", "SIGALRM"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)


def _lost_output():
    """Says that the output cannot be written, as on a full disk, where it cannot."""
    try:
        print(flush=True)  # what is left of it, or where nothing is, a line
    except OSError as error:
        _drop_output()
        return f"The standard output cannot be written: {error.strerror}"
    return None


def _drop_output():
    """Lets Python not try again to write the output when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _watch_signals():
    """Lets SIGTERM tidy up as ctrl-C does; returns a list that tells of ctrl-C."""
    interrupts = []

    def interrupt(*_):
        interrupts.append(True)
        _insist(KeyboardInterrupt())

    def terminate(*_):
        _insist(SystemExit(143))

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)
    return interrupts


def _insist(stop: BaseException):
    """Raises an exception, and once more each second until it is on its way.

    Python drops what is raised in a destructor or in a callback of its collector.
    """

    def again(*_):
        error = sys.exc_info()[1]
        while error is not None and not isinstance(error, type(stop)):
            error = error.__context__
        if error is None:
            raise stop

    if hasattr(signal, "setitimer"):  # not on Windows
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
    raise stop


def _dispatch(arguments):
    if not arguments:
        raise UsageError(
            f"a command is missing. Use one of: {', '.join(VERBS)}. See --help."
        )
    verb, *rest = arguments
    if verb in ("-h", "--help"):
        print(_usage())
    elif verb == "--version":
        print(f"keras-senet {__version__}")
    elif verb == "--completion":
        print(_COMPLETION)
    elif verb == "--complete":
        print(*_completions(rest), sep="\n")
    elif verb not in VERBS:
        raise UsageError(
            f"unknown command {verb!r}.{nearest(verb, VERBS)} The commands are: "
            f"{', '.join(VERBS)}."
        )
    elif (command := parse(verb, rest)) is not None:
        return command.run()
    return 0


def _completions(words):
    """The words that may follow, beside names of files."""
    if not words:
        return [*VERBS, "--help", "--version"]
    words = _without_programs(words)
    with contextlib.redirect_stdout(io.StringIO()) as box:
        _dispatch([*words, "--help"])
    labels = re.findall(r"^  (-.*?)(?:  |$)", box.getvalue(), re.M)
    return re.findall(r"--[\w-]+", " ".join(labels))


def _without_programs(words):
    """The words without a recipe that is a program, which reading it would run."""
    kept = []
    for word in words:
        name, _, value = word.partition("=")
        if name == "--recipe" and value.endswith(".py"):
            continue
        if kept[-1:] == ["--recipe"] and word.endswith(".py"):
            kept.pop()
            continue
        kept.append(word)
    return kept


def _usage():
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: keras-senet VERB [OPTIONS]",
            "",
            *lines,
            "",
            "  keras-senet VERB --help   the verb's options",
            "  --debug                   show tracebacks and the notes of TensorFlow",
            "  --version                 show the version",
            '  --completion              for bash and zsh: eval "$(keras-senet '
            '--completion)"',
        ]
    )


def _fail(message, code):
    print(visible(f"keras-senet: error: {message}"), file=sys.stderr)
    return code


def _describe(error, debug):
    text = " ".join(str(error).split())
    if len(text) > 1000:
        text = f"{text[:1000]} …"
    if isinstance(error, ModuleNotFoundError) and _is_needed(error.name):
        return f"{text}: python -m pip install {error.name.partition('.')[0]}"
    if isinstance(error, (ValueError, OSError, FloatingPointError)) and text:
        return text
    hint = "" if debug else " (--debug shows where)"
    return f"{type(error).__name__}: {text}{hint}"


def _is_needed(module):
    """Whether a module is of a package that this one needs, and no stranger's."""
    from importlib import metadata

    package = (module or "").partition(".")[0].replace("_", "-").lower()
    try:
        needed = metadata.requires("keras-senet") or ()
    except metadata.PackageNotFoundError:
        return False
    names = (re.match(r"[\w.-]+", line)[0] for line in needed)
    return package in {name.replace("_", "-").lower() for name in names}


def parse(verb: str, arguments: Sequence[str]):
    """Reads the words after a verb: its record, which has `run() -> int`.

    The record is of the class with the verb's name in the verb's module, unless that
    has a `parse(arguments)` of its own. It is None where help was asked for.
    """
    module = importlib.import_module(f"keras_senet.cli.{verb}")
    if hasattr(module, "parse"):
        return module.parse(arguments)
    return parse_arguments(getattr(module, verb.title()), verb, arguments)


def parse_arguments(
    record: type[_Record],
    verb: str,
    arguments: Sequence[str],
    default: _Record | None = None,
    network: str | None = None,
) -> _Record | None:
    """Fills a record, a dataclass, from the words after a verb.

    Args:
        record: `help_text` says what of it the help is.
        verb: The verb.
        arguments: The words.
        default: A record with the defaults.
        network: The network whose options the help shows too.

    Returns:
        The record, "~" in its paths expanded; None where the words ask for the help.

    Raises:
        UsageError: If the words do not make a record.
    """
    import tyro

    from keras_senet.cli.help import help_text

    if not {"-h", "--help"}.isdisjoint(arguments):
        print(help_text(record, verb, default, network))
        return None
    if default is None:
        default = tyro.MISSING_NONPROP
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            found = tyro.cli(
                record, prog=f"keras-senet {verb}", args=arguments, default=default
            )
    except SystemExit:
        message = _one_line(box.getvalue())
        strange = re.match(r"unrecognized options: --([\w-]+)", message)
        if strange and "Did you mean" not in message:  # what others call it
            shown = help_text(record, verb, default, network)
            options = re.findall(r"^  --([\w-]+)", shown, re.M)
            message += nearest(strange[1], options).replace(" '", " '--")
        raise UsageError(f"{message} See --help.") from None
    paths = {k: v for k, v in vars(found).items() if isinstance(v, Path)}
    return dataclasses.replace(found, **{k: v.expanduser() for k, v in paths.items()})


def _one_line(box):
    """The message of tyro's box, and the first option it proposes.

    The box has a title, then parts between lines; it is drawn in Unicode or ASCII.
    """
    parts = [[]]
    for line in box.splitlines():
        text = line.strip("╭╮╰╯│ \t").strip("─ ")
        if text.strip("-"):
            parts[-1].append(text)
        if line.startswith("╭") or not text.strip("-"):
            parts.append([])
    _, message, *others = [" ".join(part) for part in parts if part] + ["", ""]
    message = message[:1].lower() + message[1:].rstrip(".") + "."
    for text in others:
        proposed = re.search(r"--[\w.-]+", text)
        if text.startswith("Perhaps you meant") and proposed:
            message += f" Did you mean {proposed.group()!r}?"
    choice = re.match(r"invalid choice '(.*?)' .* one of \((.*)\)", message)
    if choice:
        message += nearest(choice[1], re.findall(r"'(.*?)'", choice[2]))
    return message
