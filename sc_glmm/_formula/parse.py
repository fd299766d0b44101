"""Parse the text of a formula."""

from __future__ import annotations

from .._errors import FormulaError
from .parser import Parser
from .piece import join
from .random import expand_bar
from .records import MixedFormula, RandomTerm


def parse_formula(source: str) -> MixedFormula:
    """Parse a formula in lme4's syntax.

    Parameters
    ----------
    source
        ``response ~ fixed + (basis | group) + offset(expression)``; the left side may be missing. In the fixed effects
        and on the left of a bar, ``+ - : * / **`` combine columns and expressions of columns. ``1`` is the intercept,
        which is included unless ``0`` or ``- 1`` removes it. Names with special characters need backticks, and
        expressions that are not a call need braces. On the right of a bar, columns are joined by ``:`` (interaction) or
        ``/`` (nested): ``(1 | a/b)`` is ``(1 | a) + (1 | a:b)``. ``(x || g)`` is ``(1 | g) + (0 + x | g)``, without
        correlations. As in lme4 1.1, a factor on the left of ``||`` keeps the correlations among its own levels.

    Returns
    -------
    The parts of the formula, each with its position in `source`.

    Raises
    ------
    FormulaError
        If the formula cannot be parsed; the message marks the position.

    Examples
    --------
    >>> formula = parse_formula("counts ~ disease + (1 | donor/sample)")
    >>> formula.response, formula.fixed
    ('counts', '1 + disease')
    >>> [term.label for term in formula.random]
    ['(1 | donor)', '(1 | donor:sample)']
    """
    if not isinstance(source, str):
        shown = repr(source)  # type: ignore[unreachable]
        raise FormulaError(f"a formula must be a string, not {type(source).__name__}", shown, (0, len(shown)))
    parser = Parser(source)
    response = parser.left_side()
    right = parser.right_side()
    random = tuple(term for bar in right.bars for term in expand_bar(bar, source))
    _check_duplicates(random, source)
    intercept = right.intercept is not False
    return MixedFormula(
        source=source,
        response=None if response is None else source[slice(*response.span)],
        response_span=None if response is None else response.span,
        fixed=join("1" if intercept else "0", right.text),
        random=random,
        offsets=tuple(atom.text for atom in right.offsets),
        fixed_terms=(*(((),) if intercept else ()), *right.terms),
        offset_atoms=tuple(right.offsets),
        response_atom=response,
    )


def _check_duplicates(random: tuple[RandomTerm, ...], source: str) -> None:
    seen = set()
    for term in random:
        key = (term.basis, frozenset(term.group))
        if key in seen:
            raise FormulaError(f"the random effect {term.label} occurs twice: remove one", source, term.span)
        seen.add(key)
