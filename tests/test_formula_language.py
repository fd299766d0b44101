"""Check that formulas never run code: they are a language of their own, safe from any source."""

from __future__ import annotations

import ast
import inspect
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sc_glmm
from sc_glmm._design import build_design
from sc_glmm._design.evaluate import _codings, _formulaic
from sc_glmm._errors import FormulaError, ScGlmmError
from sc_glmm._formula import parse_formula
from sc_glmm._formula.language import CODINGS, NUMPY, TRANSFORMS

DATA = pd.DataFrame(
    {
        "x": np.linspace(0.1, 0.9, 12),
        "n": np.arange(12) % 5,
        "f": list("abcabcabcabc"),
        "flag": [True, False, False] * 4,
        "s": list("ppppqqqqrrrr"),
    }
)
ALLOWED = (
    *(ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator, ast.BoolOp, ast.boolop),
    *(ast.Compare, ast.cmpop, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.Dict),
)
# actions of code that escaped, as reported by CPython's audit events
EVENTS = ("exec", "open", "os.", "subprocess", "pickle", "socket", "ctypes", "shutil", "marshal", "sqlite3")
_seen: list[str] | None = None


def _listen(event: str, _: object) -> None:
    if _seen is not None and event.startswith(EVENTS):
        _seen.append(event)


sys.addaudithook(_listen)


def design_of(source: str) -> tuple[Exception | None, list[str]]:
    """Return the error, and the events of the interpreter meanwhile."""
    global _seen
    _seen = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            build_design(parse_formula(source), DATA)
        return None, _seen
    except ScGlmmError as error:
        return error, _seen
    finally:
        _seen = None


design_of("~ bs(x, df=4) + C(f, contr.sum) + scale(x) + poly(x, 2) + cr(x, df=3)")  # trigger late imports


# --- the grammar of Python's expressions -----------------------------------------------------------------------------

ATTRIBUTES = st.sampled_from(
    ["__class__", "__globals__", "to_csv", "mean", "apply", "values", "f2py", "subprocess", "run", "load", "log", "T"]
)
IDENTIFIERS = st.sampled_from(
    ["x", "n", "f", "flag", "np", "contr", "open", "eval", "exec", "__import__", "print", "log", "C", "bs", "len", "u"]
)
CONSTANTS = st.sampled_from(
    [1, 2, 2.5, "a", "a`b", 'x"); open("y', "os", None, True, 1j, b"a", ..., "{x}", "'", '"', "\\", "`", "\\\\'"]
)


def _call(parts: tuple[ast.expr, list[ast.expr], list[ast.expr], bool]) -> ast.expr:
    function, arguments, named, starred = parts
    words = ["df", "levels", "_state", "_context", "out"]
    keywords = [ast.keyword(arg=words[i % 5], value=value) for i, value in enumerate(named)]
    if starred:
        keywords.append(ast.keyword(arg=None, value=function))
    return ast.Call(func=function, args=arguments, keywords=keywords)


def _loop(parts: tuple[ast.expr, ast.expr]) -> ast.comprehension:
    return ast.comprehension(target=ast.Name("u", ast.Store()), iter=parts[0], ifs=[parts[1]], is_async=0)


def _lambda(body: ast.expr) -> ast.expr:
    arguments = ast.arguments(posonlyargs=[], args=[ast.arg("u")], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(args=arguments, body=body)


def _compound(inner: st.SearchStrategy[ast.expr]) -> st.SearchStrategy[ast.expr]:
    binary = st.sampled_from([ast.Add(), ast.Sub(), ast.Mult(), ast.MatMult(), ast.Pow(), ast.LShift(), ast.BitAnd()])
    unary = st.sampled_from([ast.USub(), ast.Not(), ast.Invert()])
    compare = st.sampled_from([ast.Eq(), ast.Lt(), ast.In(), ast.NotIn(), ast.Is()])
    few = st.lists(inner, max_size=3)
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, binary, inner).map(lambda t: ast.BinOp(t[0], t[1], t[2])),
        st.tuples(unary, inner).map(lambda t: ast.UnaryOp(t[0], t[1])),
        pair.map(lambda t: ast.BoolOp(ast.And(), list(t))),
        st.tuples(inner, compare, inner).map(lambda t: ast.Compare(t[0], [t[1]], [t[2]])),
        st.tuples(inner, few, few, st.booleans()).map(_call),
        st.tuples(IDENTIFIERS, few).map(lambda t: ast.Call(func=ast.Name(t[0], ast.Load()), args=t[1], keywords=[])),
        st.tuples(st.sampled_from(["log", "load", "save", "where"]), few).map(
            lambda t: ast.Call(ast.Attribute(ast.Name("np", ast.Load()), t[0], ast.Load()), t[1], [])
        ),
        st.tuples(inner, ATTRIBUTES).map(lambda t: ast.Attribute(t[0], t[1], ast.Load())),
        pair.map(lambda t: ast.Subscript(t[0], t[1], ast.Load())),
        st.tuples(inner, inner, inner).map(lambda t: ast.IfExp(*t)),
        inner.map(_lambda),
        inner.map(lambda e: ast.NamedExpr(ast.Name("u", ast.Store()), e)),
        inner.map(lambda e: ast.JoinedStr([ast.FormattedValue(e, -1, None)])),
        few.map(lambda e: ast.List(e, ast.Load())),
        few.map(lambda e: ast.Tuple([*e, ast.Starred(ast.Name("x", ast.Load()), ast.Load())], ast.Load())),
        few.map(lambda e: ast.Set([*e, ast.Constant(1)])),
        pair.map(lambda t: ast.Dict([t[0], None], [t[1], t[1]])),
        st.tuples(inner, pair.map(_loop)).map(lambda t: ast.ListComp(t[0], [t[1]])),
        st.tuples(inner, pair.map(_loop)).map(lambda t: ast.GeneratorExp(t[0], [t[1]])),
        inner.map(ast.Await),
        inner.map(ast.Yield),
    )


EXPRESSIONS = st.recursive(
    st.one_of(IDENTIFIERS.map(lambda name: ast.Name(name, ast.Load())), CONSTANTS.map(ast.Constant)),
    _compound,
    max_leaves=8,
)


def _inside(node: ast.AST) -> bool:
    """Check whether a kind of node of the grammar is allowed in a formula."""
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        return name in CODINGS or name in ("np.pi", "np.e") or (name.startswith("np.") and name[3:] in NUMPY)
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return name in {*NUMPY, *TRANSFORMS, *CODINGS} or (name.startswith("np.") and name[3:] in NUMPY)
    return isinstance(node, ALLOWED)


@given(EXPRESSIONS, st.sampled_from(["~ I({})", "~ x + log({})", "~ C({})", "~ {{{}}}", "~ x + offset({})"]))
@settings(max_examples=300, deadline=None)
def test_nothing_outside_of_the_language_is_evaluated(tree: ast.expr, where: str) -> None:
    try:
        code = ast.unparse(ast.fix_missing_locations(tree))
    except ValueError:  # some trees cannot be written as text, such as a backslash inside a formatted string
        return
    error, events = design_of(where.format(code))
    assert events == []
    try:
        read = ast.parse(code, mode="eval")
    except SyntaxError:
        return
    if not all(_inside(node) for node in ast.walk(read) if not isinstance(node, ast.Expression)):
        assert isinstance(error, FormulaError)


@given(st.text(alphabet="xnf np.log()[]{}'\"`\\,=*:_|&~<>@1lambdaifeCT\n", max_size=60))
@example("I(C(f, Treatment(\"a'); open('/tmp/x','w') #\")))")
@example("C(f, contr.treatment(\"a') + open('y\"))")
@example("bs(x, extrapolation='\\'')")
@settings(max_examples=300, deadline=None)
def test_no_text_has_side_effects(text: str) -> None:
    _, events = design_of(f"~ x + {text}")
    assert events == []


@pytest.mark.parametrize(
    ("code", "culprit"),
    [
        ("I(x + 0*len(np.f2py.subprocess.run(['touch', 'hit']).args))", "len"),
        ("I(np.f2py.subprocess.run(['touch', 'hit']))", "np.f2py.subprocess.run"),
        ("np.load('hit.npy', allow_pickle=True)", "np.load"),
        ("x.to_csv('hit')", "x.to_csv"),
        ("I(x.to_csv('hit'))", "x.to_csv"),
        ("I(np.save('hit', x))", "np.save"),
        ("I(np.fromfile('hit'))", "np.fromfile"),
        ("log(x, x)", "log(x, x)"),
        ("log(x, out=x)", "log(x, out=x)"),
        ("bs(x, df=3, _state=x)", "bs(x, df=3, _state=x)"),
        ("scale(x, _context=x)", "scale(x, _context=x)"),
        ("hashed(f, 3, hash_func=open)", "hashed(f, 3, hash_func=open)"),
        ("C(f, levels=open('hit'))", "open('hit')"),
        ("C(f, contr.__mro__)", "contr.__mro__"),
        ("C(f, contr.sum().get_coding_matrix('a'))", "contr.sum().get_coding_matrix('a')"),
        ("I((lambda u: u)(x))", "lambda u: u"),
        ("I([u for u in x])", "[u for u in x]"),
        ("I(f'{x}')", "f'{x}'"),
        ("I((u := x))", "u := x"),
        ("log(*x)", "*x"),
        ("log(**x)", "x"),
        ("I(x[0])", "x[0]"),
        ("I(x if flag else n)", "x if flag else n"),
        ("I(np)", "np"),
        ("I(np.log)", "np.log"),
        ("I(x.values)", "x.values"),
        ("I({1, 2})", "{1, 2}"),
        ("I(np.random.normal(x))", "np.random.normal"),
        ("I(`np`.load('hit'))", "`np`.load"),
    ],
)
def test_rejected_expressions_are_marked(
    code: str, culprit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = f"~ x + {code}"
    error, events = design_of(source)
    assert isinstance(error, FormulaError)
    assert source[slice(*error.span)] == culprit
    assert events == []
    assert not list(tmp_path.iterdir())


def test_error_lists_the_allowed_functions() -> None:
    for name in NUMPY:
        assert callable(getattr(np, name))
    for name in TRANSFORMS:
        assert name in ("pow", *_formulaic())
    for name, signature in {**TRANSFORMS, **CODINGS}.items():
        if name in ("pow", "exp10"):
            continue
        parameters = inspect.signature(_codings()[name]).parameters
        assert signature.keywords <= set(parameters), name


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("log1p(x)", np.log1p(DATA["x"])),
        ("np.expm1(x)", np.expm1(DATA["x"])),
        ("exp10(x)", 10.0 ** DATA["x"]),
        ("I(n // 2 + n % 3)", DATA["n"] // 2 + DATA["n"] % 3),
        ("I(2**n)", 2.0 ** DATA["n"]),
        ("pow(x, 2)", DATA["x"] ** 2),
        ("round(x, 1)", DATA["x"].round(1)),
        ("np.clip(x, 0.2, 0.5)", DATA["x"].clip(0.2, 0.5)),
        ("np.where(f == 'a', x, 0)", DATA["x"].where(DATA["f"] == "a", 0.0)),
        ("I((f in ['a', 'c']) * x)", DATA["f"].isin(["a", "c"]) * DATA["x"]),
        ("I((0.2 < x <= 0.5) + 0)", (DATA["x"] > 0.2) & (DATA["x"] <= 0.5)),
        ("I((x > 0.2 and not flag) + 0)", (DATA["x"] > 0.2) & ~DATA["flag"]),
        ("I(((x > 0.2) & ~flag) + 0)", (DATA["x"] > 0.2) & ~DATA["flag"]),
        ("I(x * np.pi)", DATA["x"] * np.pi),
        ("I(flag + flag)", 2.0 * DATA["flag"]),
        ("np.minimum(x, 0.5)", np.minimum(DATA["x"], 0.5)),
    ],
)
def test_values(code: str, expected: pd.Series) -> None:
    X = build_design(parse_formula(f"~ {code}"), DATA).fixed.X
    np.testing.assert_allclose(X[:, 1], np.asarray(expected, dtype=float), rtol=1e-15)


def test_a_factor_of_computed_values() -> None:
    names = build_design(
        parse_formula("~ C(n // 2) + C(x > 0.4) + C(np.where(n > 2, 'high', 'low'))"), DATA
    ).fixed.names
    assert names[1:] == (
        "C(n // 2)[T.1]",
        "C(n // 2)[T.2]",
        "C(x > 0.4)[T.True]",
        "C(np.where(n > 2, 'high', 'low'))[T.low]",
    )


# --- a results file of a stranger -------------------------------------------------------------------------------------

HOSTILE = "counts ~ disease + I(0*len(np.f2py.subprocess.run(['touch', '{}']).args)) + (1|sample)"


def test_formula_in_a_file_does_not_run_code(tmp_path: Path) -> None:
    import anndata
    import matplotlib

    matplotlib.use("Agg")
    adata = sc_glmm.datasets.simulate(n_samples=8, n_cells=400, n_genes=60, seed=0)
    sc_glmm.tl.test(adata, "counts ~ disease + (1|sample)", reference={"disease": "ctl"}, progress=False)
    hit = tmp_path / "hit"
    adata.uns["glmm"]["params"]["formula"] = HOSTILE.format(hit)
    adata.write_h5ad(tmp_path / "crafted.h5ad")
    crafted = anndata.read_h5ad(tmp_path / "crafted.h5ad")
    gene = str(crafted.var_names[0])
    refused = 0
    for call in (
        lambda: sc_glmm.tl.refit(crafted, gene),
        lambda: sc_glmm.tl.refit(tmp_path / "crafted.h5ad", gene),
        lambda: sc_glmm.pl.samples(crafted, gene),
        lambda: sc_glmm.pl.caterpillar(crafted, gene),
        lambda: sc_glmm.get.results(crafted),
        lambda: sc_glmm.get.fit_info(crafted),
    ):
        try:
            call()
        except FormulaError as error:
            assert "len" in str(error)
            refused += 1
    assert refused >= 3
    assert not hit.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("bs(x, df=1000000000)", "df of bs"),
        ("bs(x, 1000000000)", "df of bs"),
        ("poly(x, degree=100000)", "degree of poly"),
        ("hashed(x, levels=1000000000)", "levels of hashed"),
        (f"cr(x, knots=[{', '.join(['0.5'] * 300)}])", "knots of cr"),
        (f"I(0x{'f' * 5000} * x)", "too large"),
        (f"bs(x, df=-0x{'f' * 5000})", "too large"),
        ("bs(x, df=4, df=5)", "given twice"),
    ],
)
def test_a_number_cannot_fill_the_memory(code: str, words: str) -> None:
    with pytest.raises(FormulaError, match=words):
        parse_formula(f"y ~ {code} + (1 | s)")
