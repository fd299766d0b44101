"""Check the meaning of formulas."""

from __future__ import annotations

import pickle

import pytest
from formulaic import Formula
from formulaic.parser import DefaultFormulaParser
from hypothesis import given, settings
from hypothesis import strategies as st

from sc_glmm._formula import MixedFormula, parse_formula, term_label


def fixed_labels(formula: MixedFormula) -> list[str]:
    return [term_label(term) for term in formula.fixed_terms]


@pytest.mark.parametrize(
    ("source", "response", "fixed", "labels"),
    [
        ("y ~ x", "y", "1 + x", ["1", "x"]),
        ("~ x", None, "1 + x", ["1", "x"]),
        ("~1", None, "1", ["1"]),
        ("y ~ 0", "y", "0", []),
        ("y ~ 0 + x", "y", "0 + x", ["x"]),
        ("y ~ x - 1", "y", "0 + x", ["x"]),
        ("y ~ -1 + x", "y", "0 + x", ["x"]),
        ("y ~ 0 + x + 1", "y", "1 + x", ["1", "x"]),
        ("y ~ x - 0", "y", "1 + x", ["1", "x"]),
        ("y ~ (x - 1) + z", "y", "0 + (x) + z", ["x", "z"]),
        ("y ~ a*b", "y", "1 + a * b", ["1", "a", "b", "a:b"]),
        ("y ~ a*b - a", "y", "1 + a * b - a", ["1", "b", "a:b"]),
        ("y ~ a/b", "y", "1 + a / b", ["1", "a", "a:b"]),
        ("y ~ (a + b)/c", "y", "1 + (a + b) / c", ["1", "a", "b", "a:b:c"]),
        ("y ~ (a + b)^2", "y", "1 + (a + b)**2", ["1", "a", "a:b", "b"]),
        ("y ~ (a + b + c)**2", "y", "1 + (a + b + c)**2", ["1", "a", "a:b", "a:c", "b", "b:c", "c"]),
        ("y ~ (a + b*c)^2", "y", "1 + (a + b * c)**2", ["1", "a", "a:b", "a:c", "a:b:c", "b", "b:c", "c"]),
        ("y ~ a + a + b:a + a:b", "y", "1 + a + a + b:a + a:b", ["1", "a", "b:a"]),
        ("y ~ -x", "y", "1 - x", ["1"]),
        ("y ~ - -x", "y", "1 + x", ["1", "x"]),
        ("y ~ `a b`:`c`", "y", "1 + `a b`:c", ["1", "a b:c"]),
        ("y~log( x+1 )", "y", "1 + log(x + 1)", ["1", "log(x + 1)"]),
        ("y ~ log (x)", "y", "1 + log(x)", ["1", "log(x)"]),
        ("y ~ {x + 1} + {z}", "y", "1 + {x + 1} + z", ["1", "x + 1", "z"]),
        ("y ~ donor.id", "y", "1 + donor.id", ["1", "donor.id"]),
        ('y ~ C(x, contr.treatment("a) |"))', "y", "1 + C(x, contr.treatment('a) |'))", None),
        ("y ~ bs(`a b`, df=4)*g", "y", "1 + bs(`a b`, df=4) * g", None),
        ("log(y + 1) ~ x", "log(y + 1)", "1 + x", None),
        ("y / n ~ x", "y / n", "1 + x", None),
        ("`my layer` ~ x", "`my layer`", "1 + x", None),
        ("y ~ x +\n  z", "y", "1 + x + z", ["1", "x", "z"]),
        ("y ~ höhe + Δt", "y", "1 + höhe + Δt", ["1", "höhe", "Δt"]),
    ],
)
def test_fixed_part(source: str, response: str | None, fixed: str, labels: list[str] | None) -> None:
    formula = parse_formula(source)
    assert formula.response == response
    assert formula.fixed == fixed
    if labels is not None:
        assert fixed_labels(formula) == labels
    if response is not None:
        assert formula.response_span is not None
        assert source[slice(*formula.response_span)] == response


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("counts ~ 1", "counts"),
        ("`my layer` ~ 1", "my layer"),
        ("class ~ 1", "class"),
        ("log(y) ~ 1", None),
        ("~1", None),
    ],
)
def test_response_name(source: str, name: str | None) -> None:
    assert parse_formula(source).response_name == name


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ("(1|g)", [("1", ("g",), "(1 | g)", "g")]),
        ("( 1 |g )", [("1", ("g",), "(1 | g)", "g")]),
        ("(x|g)", [("1 + x", ("g",), "(x | g)", "g")]),
        ("(1+x|g)", [("1 + x", ("g",), "(1 + x | g)", "g")]),
        ("(0+x|g)", [("0 + x", ("g",), "(0 + x | g)", "g")]),
        ("(x-1|g)", [("0 + x", ("g",), "(x - 1 | g)", "g")]),
        ("(-1+x|g)", [("0 + x", ("g",), "(-1 + x | g)", "g")]),
        ("(x*z|g)", [("1 + x + z + x:z", ("g",), "(x * z | g)", "g")]),
        ("(log(x)|g)", [("1 + log(x)", ("g",), "(log(x) | g)", "g")]),
        ("(1|a:b)", [("1", ("a", "b"), "(1 | a:b)", "a:b")]),
        ("(1|`a b`)", [("1", ("a b",), "(1 | `a b`)", "a b")]),
        ("(1|a/b)", [("1", ("a",), "(1 | a)", "a"), ("1", ("a", "b"), "(1 | a:b)", "b:a")]),
        (
            "(1|a/b/c)",
            [
                ("1", ("a",), "(1 | a)", "a"),
                ("1", ("a", "b"), "(1 | a:b)", "b:a"),
                ("1", ("a", "b", "c"), "(1 | a:b:c)", "c:b:a"),
            ],
        ),
        ("(1||g)", [("1", ("g",), "(1 | g)", "g")]),
        ("(x||g)", [("1", ("g",), "(1 | g)", "g"), ("0 + x", ("g",), "(0 + x | g)", "g")]),
        ("(0+x||g)", [("0 + x", ("g",), "(0 + x | g)", "g")]),
        (
            "(x*z||g)",
            [
                ("1", ("g",), "(1 | g)", "g"),
                ("0 + x", ("g",), "(0 + x | g)", "g"),
                ("0 + z", ("g",), "(0 + z | g)", "g"),
                ("0 + x:z", ("g",), "(0 + x:z | g)", "g"),
            ],
        ),
        (
            "(x||a/b)",
            [
                ("1", ("a",), "(1 | a)", "a"),
                ("0 + x", ("a",), "(0 + x | a)", "a"),
                ("1", ("a", "b"), "(1 | a:b)", "b:a"),
                ("0 + x", ("a", "b"), "(0 + x | a:b)", "b:a"),
            ],
        ),
    ],
)
def test_random_terms(bar: str, expected: list[tuple[str, tuple[str, ...], str, str]]) -> None:
    source = f"y ~ z + {bar} + w"
    formula = parse_formula(source)
    assert formula.fixed == "1 + z + w"
    assert [(t.basis, t.group, t.label, t.group_name) for t in formula.random] == expected
    for term in formula.random:
        assert source[slice(*term.span)] == bar
        assert [source[slice(*span)].strip("`") for span in term.group_spans] == list(term.group)


def test_bars_and_offsets_come_out_of_parentheses_and_any_place() -> None:
    formula = parse_formula("y ~ (1 | g) + (x + (z | h) + offset(log(n))) + offset(o) - 1")
    assert formula.fixed == "0 + (x)"
    assert [term.label for term in formula.random] == ["(1 | g)", "(z | h)"]
    assert formula.offsets == ("log(n)", "o")
    assert parse_formula("y ~ (1|g)").fixed == "1"


def test_names_and_their_places() -> None:
    source = "y ~ np.log(`a b` + x) + C(k, contr.sum) + I(np.pi * v) + C(w, levels=['x', 'y'])"
    names = [
        (name.name, source[slice(*name.span)], name.called)
        for term in parse_formula(source).fixed_terms
        for atom in term
        for name in atom.names
    ]
    assert names == [
        ("np.log", "np.log", True),
        ("a b", "`a b`", False),
        ("x", "x", False),
        ("C", "C", True),
        ("k", "k", False),
        ("I", "I", True),
        ("v", "v", False),
        ("C", "C", True),
        ("w", "w", False),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("y ~ log(`größe` + Δx + 'é' + z)", ["log", "`größe`", "Δx", "z"]),
        ("y ~ log('''a\nb\r''' + x +\n  z)", ["log", "x", "z"]),
        ("y ~ {  x + `a`*`a` }", ["x", "`a`", "`a`"]),
    ],
)
def test_names_have_right_places_behind_odd_characters(source: str, expected: list[str]) -> None:
    (atom,) = parse_formula(source).fixed_terms[1]
    assert [source[slice(*name.span)] for name in atom.names] == expected


def test_parts_are_frozen_hashable_and_equal() -> None:
    source = "y ~ a*log(x) + (1 + x | g) + offset(o)"
    assert parse_formula(source) == parse_formula(source)
    assert hash(parse_formula(source)) == hash(parse_formula(source))
    assert parse_formula(source) != parse_formula(source + " ")
    assert pickle.loads(pickle.dumps(parse_formula(source))) == parse_formula(source)


# --- properties -------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "d"])
expressions = st.recursive(
    names,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", "*", ":", "/"]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        st.tuples(inner, st.integers(1, 3)).map(lambda pair: f"({pair[0]})**{pair[1]}"),
    ),
    max_leaves=7,
)


@given(st.sampled_from(["", "0 + ", "1 + "]), expressions, st.sampled_from(["", " - 1", " + 0"]))
@settings(max_examples=400, deadline=None)
def test_the_algebra_of_terms_is_formulaics(first: str, expression: str, last: str) -> None:
    source = f"~ {first}{expression}{last}"
    formula = parse_formula(source)
    parser = DefaultFormulaParser(feature_flags={"twosided"})
    by_degree = sorted(formula.fixed_terms, key=len)
    ours = [frozenset(atom.text for atom in term) for term in by_degree]
    for text in (formula.fixed, source):
        theirs = [frozenset(str(f) for f in term.factors) - {"1"} for term in Formula(text, _parser=parser)]
        assert ours == theirs


@pytest.mark.parametrize(
    "source",
    [
        "~ a*b - a:b",
        "~ log(x):b",
        "~ (a + b)/c - 1",
        "~ `a b`*c",
        "~ bs(x, df=4) + C(f, contr.sum)",
        "~ -a",
        "~ {x + 1}:b",
    ],
)
def test_the_fixed_text_can_be_read_again(source: str) -> None:
    formula = parse_formula(source)
    assert fixed_labels(parse_formula(f"~ {formula.fixed}")) == fixed_labels(formula)


def test_a_caret_in_an_expression_is_a_power():
    formula = parse_formula("y ~ I(x^2) + I((a + b) ^ 2) + (1 | g)")
    assert formula.fixed == "1 + I(x ** 2) + I((a + b) ** 2)"
