"""Catalogues of words, and which characters a source allows."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from dicom_node.sr_writer.fonts import typeface_of
from dicom_node.sr_writer.repertoire import repertoire_of, widened
from dicom_node.sr_writer.words import languages, words_of
from tests.conftest import ROOT

WRITER = ROOT / "dicom_node" / "sr_writer"


def names(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_languages_are_english_and_korean() -> None:
    assert languages() == ("en", "ko")


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_key_with_the_same_names(language: str) -> None:
    english, other = words_of("en").entries, words_of(language).entries
    assert list(other) == list(english)
    assert {key: names(text) for key, text in other.items()} == {key: names(text) for key, text in english.items()}


def test_every_key_that_the_writers_use_is_in_the_catalogue_and_none_is_idle() -> None:
    code = "\n".join(path.read_text("utf-8") for path in WRITER.glob("*.py"))
    used = {key for key in words_of("en").entries if re.search(rf"""["']{key}["']""", code)}
    assert used == set(words_of("en").entries)
    asked = set(re.findall(r'words\(\s*"(\w+)"', code))
    assert asked <= set(words_of("en").entries)


def test_korean_has_korean_letters_in_every_sentence() -> None:
    without = {key for key, text in words_of("ko").entries.items() if not re.search("[가-힣]", text)}
    assert without == {"map_legend"}


@pytest.mark.parametrize(
    ("declared", "ascii_only", "text", "result"),
    [
        (None, True, "plain", ()),
        (None, True, "한", ("", "ISO 2022 IR 149")),
        (None, True, "ü", None),
        (None, False, "ü", ("ISO_IR 100",)),
        (None, False, "한", None),
        ("ISO_IR 6", True, "ü", None),
        ("ISO_IR 100", False, "ü", ("ISO_IR 100",)),
        ("ISO_IR 100", False, "한", None),
        ("ISO_IR 192", False, "한山ü", ("ISO_IR 192",)),
        (["", "ISO 2022 IR 149"], False, "한洪", ("", "ISO 2022 IR 149")),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], False, "山", ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], False, "한", None),
        (["", "ISO 2022 IR 159"], False, "한", None),
        ("ISO_IR 13", False, "山", None),
        ("GB18030", False, "한", ("GB18030",)),
        ("nonsense", True, "ü", ("ISO_IR 100",)),
        (["nonsense", "ISO 2022 IR 87"], True, "山", ("ISO 2022 IR 87",)),
    ],
)
def test_set_is_kept_and_widened_only_where_nothing_was_declared(
    declared: str | list[str] | None, ascii_only: bool, text: str, result: tuple[str, ...] | None
) -> None:
    wider = widened(repertoire_of(declared, ascii_only=ascii_only), [text])
    assert (wider.declared if wider else None) == result


@pytest.mark.parametrize("language", languages())
def test_font_draws_every_character_of_its_language(language: str) -> None:
    typeface = typeface_of(language)
    assert typeface is not None, "the extra `korean` is part of the extra `test`"
    font = typeface.sized(20)
    missing = bytes(font.getmask("\uffff"))
    characters = set("".join(words_of(language).entries.values())) - set(" {}")
    assert [c for c in sorted(characters) if bytes(font.getmask(c)) == missing] == []
