"""Text features: scikit-learn's on English, character pairs on Chinese, a row the same in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from danlu.data.tfidf import Terms, sizes_of

ENGLISH = [
    "The cat sat on the mat.",
    "the cat, the CAT and the dog!",
    "A dog_1 is not a cat",
    "",
    "...",
    "don't sit on the dog the cat sat on",
]


def fit(texts: list[Any], **more: Any) -> Terms:
    return Terms.fit(
        pl.Series("review", texts, dtype=pl.String), **{"weighting": "tfidf", "max_terms": 1000} | more
    )


def encode(terms: Terms, texts: list[Any]) -> np.ndarray:
    found = terms.encode(pl.Series("review", texts, dtype=pl.String))
    found.check_format()
    assert found.has_canonical_format
    return found.toarray()


@pytest.mark.parametrize("num_words", [1, 2, 3])
def test_equal_to_scikit_learn(num_words: int) -> None:
    theirs = TfidfVectorizer(ngram_range=(1, num_words), sublinear_tf=True, min_df=2)
    expected = theirs.fit_transform(ENGLISH).toarray()
    terms = fit(ENGLISH, num_words=num_words)
    assert list(terms.terms) == list(theirs.get_feature_names_out())
    np.testing.assert_allclose(encode(terms, ENGLISH), expected, rtol=1e-12, atol=0)
    new = ["a cat that nobody knows", "the the the dog"]
    np.testing.assert_allclose(encode(terms, new), theirs.transform(new).toarray(), rtol=1e-12, atol=0)


def test_counts_and_presence_equal_to_scikit_learn() -> None:
    for weighting, binary in (("counts", False), ("presence", True)):
        terms = fit(ENGLISH, weighting=weighting)
        theirs = CountVectorizer(ngram_range=(1, 2), vocabulary=terms.terms, binary=binary)
        np.testing.assert_array_equal(encode(terms, ENGLISH), theirs.fit_transform(ENGLISH).toarray())


def test_spam_messages_as_scikit_learn(data_dir: Path) -> None:
    lines = (data_dir / "sms_spam" / "sms_spam.tsv").read_text("utf-8").splitlines()
    texts = [line.split("\t", 1)[1] for line in lines]
    texts = [text for text in texts if text.isascii()]
    terms = fit(texts, max_terms=5000)
    assert len(terms.terms) == 5000
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=terms.terms)
    expected = theirs.fit_transform(texts)
    difference = abs(terms.encode(pl.Series(texts)) - expected)
    assert difference.max() < 1e-12


def test_terms_of_one_row_are_left_out_unless_there_are_no_others() -> None:
    assert fit(["red apple", "red pear"], num_words=1).terms == ("red",)
    assert fit(["red", "green"], num_words=1).terms == ("green", "red")


def test_the_most_frequent_terms_are_kept_and_equals_go_by_text() -> None:
    texts = ["dd cc bb", "dd cc bb", "dd aa", "aa"]
    assert fit(texts, num_words=1, max_terms=2).terms == ("aa", "dd")


def test_by_variance_leaves_out_words_that_all_rows_have() -> None:
    texts = [f"the word {'rare' if i < 15 else 'never'} w{i}" for i in range(100)]
    assert fit(texts, num_words=1, max_terms=2, by_variance=True).terms == ("never", "rare")


def test_chinese_is_read_in_characters_and_their_pairs() -> None:
    terms = fit(["房间很好,wifi快", "房间不好"], weighting="counts")
    assert set(terms.terms) == {"房", "间", "好", "房间"}
    everything = fit(["房间 wifi快"], weighting="counts")
    assert set(everything.terms) == {"房", "间", "房间", "wifi", "快", "间 wifi", "wifi 快"}


def test_full_width_letters_are_the_plain_ones() -> None:
    terms = fit(["ＷＩＦＩ５ ok", "wifi5 OK"], weighting="counts")
    np.testing.assert_array_equal(*encode(terms, ["ＷＩＦＩ５", "WiFi5"]))


def test_missing_text_is_a_row_of_zeros_and_a_feature_if_training_had_it() -> None:
    terms = fit(["red red", None, "red"], num_words=1)
    assert terms.feature_names() == ["review: red", "review is missing"]
    np.testing.assert_array_equal(encode(terms, [None, "red", "blue"]), [[0, 1], [1, 0], [0, 0]])
    assert fit(["red", None], indicator=False).width == 1


def test_a_column_without_words() -> None:
    terms = fit(["!", "?"])
    assert terms.width == 0
    assert encode(terms, ["a", "word"]).shape == (2, 0)
    assert encode(fit(["red"]), []).shape == (0, 1)


def test_a_row_is_the_same_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(50)])
    texts = [" ".join(rng.choice(words, rng.integers(0, 60))) for _ in range(60)]
    terms = fit(texts)
    whole = encode(terms, texts)
    np.testing.assert_array_equal(np.concatenate([encode(terms, [text]) for text in texts]), whole)
    monkeypatch.setattr("danlu.data.tfidf.BYTES_AT_ONCE", 1000)
    np.testing.assert_array_equal(encode(terms, texts), whole)
    again = fit(texts)
    assert again.terms == terms.terms and np.array_equal(again.idf, terms.idf)


def test_sizes_of_texts() -> None:
    found = sizes_of(pl.Series(["two words", "", None, "很好"]))
    np.testing.assert_array_equal(found, [[9, 2], [0, 0], [np.nan, np.nan], [2, 2]])
