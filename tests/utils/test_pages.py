"""A program's part of a page."""

import pytest

from keras_senet.utils.pages import write_block

PAGE = "head\n\n<!-- times -->\n\nold\n\n<!-- end of the times -->\n\ntail\n"


def test_only_the_block_is_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("old", "something older\n\nin lines"))
    write_block(page, "times", "\nold\n")
    assert page.read_text() == PAGE
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        PAGE.replace("end of the times", "end"),
        "<!-- end of the times -->\n<!-- times -->",
        PAGE + PAGE,
    ],
)
def test_a_page_without_the_marks_stays_as_it_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="'<!-- end of the times -->', each once"):
        write_block(page, "times", "new")
    assert page.read_text() == text
