import os
import sys

from keras_senet.utils.quiet import quiet, silence


def test_native_notes_are_dropped_and_python_goes_on(capfd):
    with quiet():
        os.write(2, b"a note")
    os.write(2, b"a word")
    assert capfd.readouterr().err == "a word"


def test_a_program_without_standard_error(monkeypatch, capfd):
    monkeypatch.setattr(sys, "stderr", None)
    with quiet(), silence():
        os.write(2, b"a note")
    os.write(2, b"a word")
    assert capfd.readouterr().err == "a word"
