"""What people type for a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee_agent.errors import NotFound, Refused
from rbee_agent.models import catalog
from rbee_agent.models.references import is_reference, model_slug, nearest, parse, resolve


@pytest.mark.parametrize(
    ("reference", "kind", "location", "file", "revision"),
    [
        ("hf:org/repo", "hf", "org/repo", None, None),
        ("org/repo:Q4_K_M", "hf", "org/repo", "*Q4_K_M*", None),
        ("hf:org/repo@v2:Q8_0", "hf", "org/repo", "*Q8_0*", "v2"),
        ("hf:org/repo::sub/file.gguf", "hf", "org/repo", "sub/file.gguf", None),
        ("https://h.example/a/m.gguf?x=1", "https", "https://h.example/a/m.gguf?x=1", None, None),
        ("file:/models/m.gguf", "file", "/models/m.gguf", None, None),
        ("file:///models/m.gguf", "file", "/models/m.gguf", None, None),
        ("/models/m.gguf", "file", "/models/m.gguf", None, None),
    ],
)
def test_every_form(
    reference: str, kind: str, location: str, file: str | None, revision: str | None
) -> None:
    """Each says where the model is, and gets an id that may stand in a path."""
    entry = parse(reference)
    (source,) = entry.sources

    assert (source.kind, source.location, source.file, source.revision) == (
        kind,
        location,
        file,
        revision,
    )
    assert "/" not in entry.id
    assert is_reference(reference)


@pytest.mark.parametrize(
    "reference",
    ["https://h.example/page", "https:///m.gguf", "file:relative.gguf", "hf:no-slash", "hf:a/b:"],
)
def test_what_has_no_form_is_refused(reference: str) -> None:
    """With the forms that there are."""
    with pytest.raises(Refused):
        parse(reference)


@pytest.mark.parametrize("name", ["smollm2", "SmolLM2-135M", "smolm2-135m", "135m"])
def test_a_name_that_almost_exists_names_the_near_one(name: str) -> None:
    """And how to get any other."""
    with pytest.raises(NotFound, match=r"did you mean smollm2-135m\?.*rbee model pull") as refusal:
        resolve(name, catalog.builtin())

    assert refusal.value.code == "MODEL_NOT_FOUND"


@given(st.text())
def test_a_slug_is_always_a_file_name(text: str) -> None:
    """Whatever is typed: no separator, no leading dot, not empty, not endless."""
    slug = model_slug(text)

    assert slug
    assert len(slug) <= 120
    assert "/" not in slug
    assert slug[0] not in ".-"
    assert slug.isascii()


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_near_names_are_names_that_exist(word: str, names: list[str]) -> None:
    """At most three, none of them made up."""
    found = nearest(word, names)

    assert len(found) <= 3
    assert set(found) <= set(names)
