"""The parser of formulas: what each formula means, and where each error is marked."""

from __future__ import annotations

import pickle

import pytest
from formulaic import Formula
from formulaic.parser import DefaultFormulaParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sc_glmm._errors import FormulaError
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
        ("y ~ (a + b)^2", "y", "1 + (a + b)**2", ["1", "a", "b", "a:b"]),
        ("y ~ (a + b + c)**2", "y", "1 + (a + b + c)**2", ["1", "a", "b", "c", "a:b", "a:c", "b:c"]),
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
    source = "y ~ np.log(`a b` + x) + C(k, contr.sum) + f(lambda u: u + v, [w for w in x])"
    names = [
        (name.name, source[slice(*name.span)], name.called)
        for term in parse_formula(source).fixed_terms
        for atom in term
        for name in atom.names
    ]
    assert names == [
        ("np", "np", True),
        ("a b", "`a b`", False),
        ("x", "x", False),
        ("C", "C", True),
        ("k", "k", False),
        ("contr", "contr", False),
        ("f", "f", True),
        ("v", "v", False),
        ("x", "x", False),
    ]


def test_names_have_right_places_behind_wide_characters() -> None:
    source = "y ~ log(`größe` + Δx + 'é' + z)"
    (atom,) = parse_formula(source).fixed_terms[1]
    assert [source[slice(*name.span)] for name in atom.names] == ["log", "`größe`", "Δx", "z"]


@pytest.mark.parametrize(
    ("source", "culprit", "message"),
    [
        ("", "", "needs a '~'"),
        ("y", "y", "needs a '~'"),
        ("y + x", "y + x", "needs a '~'"),
        ("y ~ a ~ b", "~", "only one"),
        ("y ~", "", "nothing stands right"),
        ("y ~ x +", "", "after '[+]'.*end of the formula"),
        ("y ~ x + * z", "*", r"after '\+'.*'\*'"),
        ("y ~ * z", "*", r"expected, but here is '\*'"),
        ("y ~ x z", "z", "missing before 'z'"),
        ("y ~ (x z)", "z", "missing before 'z'"),
        ("y ~ (x", "(", "never closed"),
        ("y ~ ((x)", "(", "never closed"),
        ("y ~ x)", ")", "closes nothing"),
        ("y ~ x]", "]", "closes nothing"),
        ("y ~ ()", "()", "between these parentheses"),
        ("y ~ (1|g", "(", "never closed"),
        ("y ~ (1|", "", "nothing stands right of the bar"),
        ("y ~ (1|)", ")", "nothing stands right of the bar"),
        ("y ~ (|g)", "|", "nothing stands left of the bar"),
        ("y ~ (x + |g)", "|", r"after '\+'"),
        ("y ~ (0|g)", "0", "no column is left"),
        ("y ~ (x - x - 1|g)", "x - x - 1", "no column is left"),
        ("y ~ (1|g|h)", "|", "right of a bar"),
        ("y ~ (1|||g)", "|", "name of a column"),
        ("y ~ (1|g h)", "h", "right of a bar"),
        ("y ~ (1|g + h)", "+", "right of a bar"),
        ("y ~ (1|g*h)", "*", "right of a bar"),
        ("y ~ (1|g:)", ")", "name of a column"),
        ("y ~ (1|factor(g))", "factor(g)", "grouping factor is a column"),
        ("y ~ (1|1)", "1", "name of a column"),
        ("y ~ (1|a:a)", "a", "twice"),
        ("y ~ (1|a/a)", "a", "twice"),
        ("y ~ ((1|g)|h)", "(1|g)", "left of a bar"),
        ("y ~ (offset(x)|h)", "offset(x)", "left of a bar"),
        ("y ~ 1|g", "|", "needs parentheses"),
        ("y ~ x + 1 || g", "||", "needs parentheses"),
        ("1|g ~ x", "|", "right side"),
        ("y ~ x*(1|g)", "(1|g)", r"'\*'"),
        ("y ~ (1|g):x", "(1|g)", "':'"),
        ("y ~ (1|g)**2", "(1|g)", "'[*][*]'"),
        ("y ~ x - (1|g)", "(1|g)", "subtracted"),
        ("y ~ x - offset(z)", "offset(z)", "subtracted"),
        ("y ~ x:offset(z)", "offset(z)", "an offset"),
        ("y ~ x*0", "0", "intercept"),
        ("y ~ x:(1 + z)", "(1 + z)", "intercept"),
        ("y ~ x (1|g)", "(", "'[+]' is missing"),
        ("y ~ x(1|g)", "|", "inside a function"),
        ("y ~ us(x||g)", "||", "inside a function"),
        ("y ~ 2", "2", "number other than"),
        ("y ~ 2*x", "2", "number other than"),
        ("y ~ 1.0", "1.0", "number other than"),
        ("y ~ x^", "", "whole number"),
        ("y ~ x^0", "0", "whole number"),
        ("y ~ x^z", "z", "whole number"),
        ("y ~ x^1.5", "1.5", "whole number"),
        (f"y ~ x^{'9' * 5000}", "9" * 5000, "whole number"),
        ("y ~ 1x", "1x", "digit"),
        ("y ~ .", ".", "all other columns"),
        ("y ~ x $ z", "$", "no meaning"),
        ("y ~ 'x'", "'", "backticks"),
        ("y ~ x; z", ";", "no meaning"),
        ("y ~ x[0]", "[", "no meaning"),
        ("y ~ `x", "`", "never closed"),
        ("y ~ ``", "``", "no name"),
        ("y ~ ` `", "` `", "no name"),
        ("y ~ `1`", "`1`", "plain number"),
        ("y ~ log(x", "(", "never closed"),
        ("y ~ log(x]", "]", "closes"),
        ("y ~ log('x)", "'", "never closed"),
        ("y ~ log(x y)", "x", "not an expression"),
        ("y ~ log(x) + exp(x +)", ")", "not an expression"),
        ("y ~ log(x # c)", "#", "comment"),
        ("y ~ log(__import__)", "__import__", "underscores"),
        ("y ~ x.__class__(z)", "x.__class__", "underscores"),
        ("y ~ {}", None, "not an expression"),
        ("y ~ offset()", "offset()", "needs an expression"),
        ("y ~ offset(1 +)", None, "not an expression"),
        ("y ~ offset", None, None),
        ("1 ~ x", "1", "cannot be the response"),
        ("y + ~ x", None, "not an expression"),
        ("(y ~ x", "(", "not an expression"),
        ("y z ~ x", None, "not an expression"),
        ("y ~ (1|g) + (1|g)", "(1|g)", "given twice"),
        ("y ~ (1|a:b) + (1|b:a)", "(1|b:a)", "given twice"),
        ("y ~ (1|g) + (x||g)", "(x||g)", "given twice"),
        ("y ~ " + "*".join("abcdefghijklmnopqrst"), "*".join("abcdefghijklmn"), "more than 5000 terms"),
        ("y ~ (" + "+".join("abcdefghijklmnopqrst") + ")**9", None, "more than 5000 terms"),
        ("y ~ " + "(" * 60 + "x" + ")" * 60, "(", "inside each other"),
    ],
)
def test_errors_mark_the_culprit(source: str, culprit: str | None, message: str | None) -> None:
    if message is None:
        assert parse_formula(source).fixed == "1 + offset"
        return
    with pytest.raises(FormulaError, match=message) as caught:
        parse_formula(source)
    error = caught.value
    assert 0 <= error.span[0] <= error.span[1] <= len(source)
    if culprit is not None:
        assert source[slice(*error.span)] == culprit
    shown, carets = str(error).splitlines()[-2:]
    assert carets.index("^") == 4 + error.span[0]
    assert carets.count("^") == max(error.span[1] - error.span[0], 1)
    assert len(shown) == 4 + len(source)


def test_the_second_of_two_equal_culprits_is_marked() -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula("y ~ (1|g) + x + (1|g)")
    assert caught.value.span == (16, 21)
    with pytest.raises(FormulaError) as caught:
        parse_formula("y ~ x ~ x")
    assert caught.value.span == (6, 7)


def test_error_text() -> None:
    with pytest.raises(FormulaError) as caught:
        parse_formula("counts ~ 位置 +\n disease + (1|)")
    assert str(caught.value) == (
        "nothing stands right of the bar: write (1 | sample)\n"
        "    counts ~ 位置 +  disease + (1|)\n"
        "                                  ^"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.span == caught.value.span


def test_a_formula_is_a_string() -> None:
    with pytest.raises(FormulaError, match="not int"):
        parse_formula(3)  # type: ignore[arg-type]


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
@settings(max_examples=300, deadline=None)
def test_the_algebra_of_terms_is_formulaics(first: str, expression: str, last: str) -> None:
    source = f"~ {first}{expression}{last}"
    formula = parse_formula(source)
    parser = DefaultFormulaParser(feature_flags={"twosided"})
    by_degree = sorted(formula.fixed_terms, key=len)
    ours = [frozenset(atom.text for atom in term) for term in by_degree]
    for text in (formula.fixed, source):
        theirs = [frozenset(str(f) for f in term.factors) - {"1"} for term in Formula(text, _parser=parser)]
        assert ours == theirs


alphabet = st.one_of(
    st.sampled_from(list("yxg01 ~+-*/:^|()`'\"{}[].,=_#\\\n") + ["||", "(1|g)", "y ~ ", "log(", "offset(", "C(x, "]),
    st.characters(),
)


@given(st.lists(alphabet, max_size=25).map("".join))
@settings(max_examples=1000, deadline=None)
@example("y ~ log('''a\nb''' + x)")
@example("y ~ log(" + "-" * 3000 + "x)")
@example("y ~ log(" + "(" * 300 + "x" + ")" * 300 + ")")
@example("y ~ log(\ud800)")
@example("y ~ log('\ud800' + x)")
@example("y ~ log(x\0)")
@example("y ~ " + ":".join("abc" * 500))
@example("y ~ " + "+".join(f"x{i}" for i in range(4000)))
@example("y ~ log(ﬁx + x)")
@example("y ~ log(x\\\n + 1)")
@example("~".join("()"))
def test_any_text_gives_a_formula_or_our_error(source: str) -> None:
    try:
        formula = parse_formula(source)
    except FormulaError as error:
        start, stop = error.span
        assert 0 <= start <= stop <= len(source)
        assert "^" in str(error)
    else:
        assert isinstance(formula, MixedFormula)
        for term in formula.random:
            assert source[term.span[0]] == "("


@given(st.lists(alphabet, max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_text_inside_a_call_gives_a_formula_or_our_error(inside: str) -> None:
    source = f"y ~ x + log({inside}) + (1 | g)"
    try:
        formula = parse_formula(source)
    except FormulaError as error:
        assert 0 <= error.span[0] <= error.span[1] <= len(source)
    else:
        for term in formula.fixed_terms:
            for atom in term:
                for name in atom.names:
                    assert 0 <= name.span[0] < name.span[1] <= len(source)


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
