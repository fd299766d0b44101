"""Check the mark of each error in a formula; any text gives a formula or a package error."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sc_glmm._errors import FormulaError
from sc_glmm._formula import MixedFormula, parse_formula


@pytest.mark.parametrize(
    ("source", "culprit", "message"),
    [
        ("", "", "needs a '~'"),
        ("y", "y", "needs a '~'"),
        ("y + x", "y + x", "needs a '~'"),
        ("y ~ a ~ b", "~", "only one"),
        ("y ~", "", "right side of '~' is empty"),
        ("y ~ x +", "", "after '[+]'.*end of the formula"),
        ("y ~ x + * z", "*", r"after '\+'.*'\*'"),
        ("y ~ * z", "*", r"expected, not '\*'"),
        ("y ~ x z", "z", "missing before 'z'"),
        ("y ~ (x z)", "z", "missing before 'z'"),
        ("y ~ (x", "(", "not closed"),
        ("y ~ ((x)", "(", "not closed"),
        ("y ~ x)", ")", "not opened"),
        ("y ~ x]", "]", "not opened"),
        ("y ~ ()", "()", "these parentheses are empty"),
        ("y ~ (1|g", "(", "not closed"),
        ("y ~ (1|", "", "right side of the bar is empty"),
        ("y ~ (1|)", ")", "right side of the bar is empty"),
        ("y ~ (|g)", "|", "left side of the bar is empty"),
        ("y ~ (x + |g)", "|", r"after '\+'"),
        ("y ~ (0|g)", "0", "no column remains"),
        ("y ~ (x - x - 1|g)", "x - x - 1", "no column remains"),
        ("y ~ (1|g|h)", "|", "right of a bar"),
        ("y ~ (1|||g)", "|", "name of a column"),
        ("y ~ (1|g h)", "h", "right of a bar"),
        ("y ~ (1|g + h)", "+", "right of a bar"),
        ("y ~ (1|g*h)", "*", "right of a bar"),
        ("y ~ (1|g:)", ")", "name of a column"),
        ("y ~ (1|factor(g))", "factor(g)", "grouping factor must be a column"),
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
        ("y ~ `x", "`", "not closed"),
        ("y ~ ``", "``", "no name"),
        ("y ~ ` `", "` `", "no name"),
        ("y ~ `a\nb`", "`a\nb`", "line break"),
        ("y ~ log(x", "(", "not closed"),
        ("y ~ log(x]", "]", "closes"),
        ("y ~ log('x)", "'", "not closed"),
        ("y ~ log(x y)", "x", "not an expression"),
        ("y ~ log(x) + exp(x +)", ")", "not an expression"),
        ("y ~ log(x # c)", "#", "comment"),
        ("y ~ log(__import__)", "__import__", "underscores"),
        ("y ~ x.__class__(z)", "x.__class__", "no method '__class__'"),
        ("y ~ {}", None, "not an expression"),
        ("y ~ offset()", "offset()", "needs an expression"),
        ("y ~ offset(1 +)", None, "not an expression"),
        ("y ~ offset", None, None),
        ("1 ~ x", "1", "cannot be the response"),
        ("y + ~ x", None, "not an expression"),
        ("(y ~ x", "(", "not an expression"),
        ("y z ~ x", None, "not an expression"),
        ("y ~ (1|g) + (1|g)", "(1|g)", "occurs twice"),
        ("y ~ (1|a:b) + (1|b:a)", "(1|b:a)", "occurs twice"),
        ("y ~ (1|g) + (x||g)", "(x||g)", "occurs twice"),
        ("y ~ " + "*".join("abcdefghijklmnopqrst"), "*".join("abcdefghijklmn"), "more than 5000 terms"),
        ("y ~ (" + "+".join("abcdefghijklmnopqrst") + ")**9", None, "more than 5000 terms"),
        ("y ~ " + "(" * 60 + "x" + ")" * 60, "(", "nested"),
    ],
)
def test_errors_mark_the_wrong_part(source: str, culprit: str | None, message: str | None) -> None:
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


def test_second_of_two_equal_parts_is_marked() -> None:
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
        "the right side of the bar is empty: write (1 | sample)\n"
        "    counts ~ 位置 +  disease + (1|)\n"
        "                                  ^"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.span == caught.value.span


def test_a_formula_is_a_string() -> None:
    with pytest.raises(FormulaError, match="not int"):
        parse_formula(3)  # type: ignore[arg-type]


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
