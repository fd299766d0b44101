"""The parser: recursive descent over the tokens, one function for each level of precedence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .._errors import FormulaError
from .algebra import OPERATIONS, Terms, atom_terms
from .python import read_python
from .random import Bar, expand_bar
from .records import Atom, MixedFormula, Name, RandomTerm, Span
from .tokens import Token, tokenize

MAX_DEPTH = 40
_READABLE = {"end": "the end of the formula", "quoted": "a name"}


@dataclass
class Piece:
    """What a stretch of the right side means so far.

    Attributes
    ----------
    terms
        Its terms, without the intercept.
    intercept
        True after ``1``, False after ``0`` or ``- 1``, None when nothing was said.
    text, written
        For formulaic (terms only), and as written.
    start, stop
        Place in the source.
    bars, offsets
        Random-effects terms and offsets found on the way.
    """

    terms: Terms
    intercept: bool | None
    text: str
    written: str
    start: int
    stop: int
    bars: list[Bar] = field(default_factory=list)
    offsets: list[Atom] = field(default_factory=list)

    @property
    def special(self) -> bool:
        return self.intercept is not None or bool(self.bars) or bool(self.offsets)


def parse_formula(source: str) -> MixedFormula:
    """Take a formula in lme4's syntax apart.

    Parameters
    ----------
    source
        ``response ~ fixed + (basis | group) + offset(expression)``; the left side may be missing. In the fixed part
        and left of a bar, ``+ - : * / **`` combine columns and Python expressions of columns, ``1`` is the
        intercept (there unless ``0`` or ``- 1`` takes it away). Names with odd characters go into backticks.
        Right of a bar stand columns, joined by ``:`` (interaction) or ``/`` (nested): ``(1 | a/b)`` is
        ``(1 | a) + (1 | a:b)``. ``(x || g)`` is ``(1 | g) + (0 + x | g)``: no correlations. As in lme4 1.1, a
        factor left of ``||`` keeps the correlations among its own levels.

    Returns
    -------
    The parts, each with its place in `source`.

    Raises
    ------
    FormulaError
        If the formula cannot be read; the message marks the spot.
    """
    if not isinstance(source, str):
        raise FormulaError(f"a formula is a string, not {type(source).__name__}", repr(source), (0, len(repr(source))))
    parser = _Parser(source)
    response = parser.left_side()
    right = parser.right_side()
    random = tuple(term for bar in right.bars for term in expand_bar(bar, source))
    _check_duplicates(random, source)
    intercept = right.intercept is not False
    base = "1" if intercept else "0"
    return MixedFormula(
        source=source,
        response=None if response is None else source[slice(*response.span)],
        response_span=None if response is None else response.span,
        fixed=_join(base, right.text),
        random=random,
        offsets=tuple(atom.text for atom in right.offsets),
        fixed_terms=(((),) if intercept else ()) + tuple(right.terms),
        offset_atoms=tuple(right.offsets),
        response_atom=response,
    )


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.token
        self.at += 1
        return token

    def fail(self, message: str, span: Span | None = None) -> FormulaError:
        return FormulaError(message, self.source, self.token.span if span is None else span)

    def left_side(self) -> Atom | None:
        """Everything before ``~``, as one expression."""
        tildes = [i for i, token in enumerate(self.tokens) if token.kind == "~"]
        if not tildes:
            spot = next((token.span for token in self.tokens), (0, 0))
            raise self.fail("a formula needs a '~' between the response and the model: counts ~ x + (1 | g)", spot)
        if len(tildes) > 1:
            raise self.fail("only one '~' can stand in a formula", self.tokens[tildes[1]].span)
        left = self.tokens[: tildes[0]]
        self.at = tildes[0] + 1
        if not left:
            return None
        bar = next((token for token in left if token.kind in ("|", "||")), None)
        if bar is not None:
            raise self.fail("a random effect belongs on the right side of '~'", bar.span)
        if len(left) == 1:
            if left[0].kind == "number":
                raise self.fail("a number cannot be the response", left[0].span)
            return self.atom(left[0])
        return self.python(left[0].start, left[-1].stop)

    def right_side(self) -> Piece:
        """Everything after ``~``."""
        if self.token.kind == "end":
            raise self.fail("nothing stands right of '~': write '~ 1' for an intercept alone")
        piece = self.sum()
        token = self.token
        if token.kind in ("|", "||"):
            raise self.fail("a random effect needs parentheses: (1 | sample)")
        if token.kind == ")":
            raise self.fail("this parenthesis closes nothing")
        if token.kind != "end":
            raise self.fail("an operator such as '+' is missing here", (token.start, token.start + 1))
        return piece

    def sum(self) -> Piece:
        """``a + b - c``: the only level where 0, 1, random effects and offsets may stand."""
        start = self.token.start
        total = Piece(Terms(), None, "", "", start, start)
        first = True
        while first or self.token.kind in ("+", "-"):
            minus = False
            while self.token.kind in ("+", "-"):
                minus ^= self.take().kind == "-"
            piece = self.product()
            if minus and (piece.bars or piece.offsets):
                what = "a random effect" if piece.bars else "an offset"
                raise self.fail(f"{what} can be added, not subtracted", (piece.start, piece.stop))
            total.terms = total.terms - piece.terms if minus else total.terms + piece.terms
            if piece.intercept is not None:
                total.intercept = piece.intercept != minus
            total.bars += piece.bars
            total.offsets += piece.offsets
            total.text = _join(total.text, piece.text, minus)
            total.written = _join(total.written, piece.written, minus)
            total.stop = piece.stop
            first = False
        return total

    def product(self) -> Piece:
        return self.chain(("*", "/"), self.interaction)

    def interaction(self) -> Piece:
        return self.chain((":",), self.power)

    def chain(self, operators: tuple[str, ...], operand: Callable[[], Piece]) -> Piece:
        """Operands joined by operators of one precedence, from left to right."""
        left = operand()
        while self.token.kind in operators:
            operator = self.take()
            right = operand()
            self.plain(left, operator)
            self.plain(right, operator)
            space = "" if operator.kind == ":" else " "
            join = f"{space}{operator.text}{space}"
            try:
                terms = OPERATIONS[operator.kind](left.terms, right.terms)
            except OverflowError as error:
                raise self.fail(str(error), (left.start, right.stop)) from None
            left = Piece(
                terms, None, left.text + join + right.text, left.written + join + right.written, left.start, right.stop
            )
        return left

    def power(self) -> Piece:
        base = self.item()
        while self.token.kind in ("**", "^"):
            operator = self.take()
            self.plain(base, operator)
            token = self.take()
            if token.kind != "number" or not token.text.isdigit() or int(token.text) < 1:
                raise self.fail(f"{operator.text!r} must be followed by a whole number from 1 up", token.span)
            try:
                terms = base.terms.power(int(token.text))
            except OverflowError as error:
                raise self.fail(str(error), (base.start, token.stop)) from None
            suffix = f"**{token.text}"
            base = Piece(terms, None, base.text + suffix, base.written + suffix, base.start, token.stop)
        return base

    def item(self) -> Piece:
        """A name, a call, 0, 1, or something in parentheses."""
        token = self.take()
        if token.kind == "(":
            return self.parentheses(token)
        if token.kind == "number":
            if token.text not in ("0", "1"):
                message = "a number other than 0 and 1 (the intercept) cannot be a term: write I(2 * x) to scale"
                raise self.fail(message, token.span)
            return Piece(Terms(), token.text == "1", "", token.text, token.start, token.stop)
        if (
            token.kind == "call"
            and token.text[:6] == "offset"
            and not (token.text[6].isalnum() or token.text[6] in "._")
        ):
            return self.offset(token)
        if token.kind in ("name", "quoted", "call", "braces"):
            atom = self.atom(token)
            return Piece(atom_terms(atom), None, str(atom), str(atom), token.start, token.stop)
        raise self.fail(self.missing(token), token.span)

    def missing(self, token: Token) -> str:
        before = self.tokens[self.at - 2] if self.at > 1 else None
        if before is not None and before.kind == "(" and token.kind in ("|", "||"):
            return "nothing stands left of the bar: write (1 | sample) for an intercept"
        if before is not None and before.kind == "(" and token.kind == ")":
            return "nothing stands between these parentheses"
        here = _READABLE.get(token.kind, f"{token.text!r}")
        after = "" if before is None or before.kind == "~" else f" after {before.text!r}"
        return f"a term was expected{after}, but here is {here}"

    def parentheses(self, opener: Token) -> Piece:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"more than {MAX_DEPTH} parentheses inside each other", opener.span)
        inner = self.sum()
        token = self.token
        if token.kind in ("|", "||"):
            piece = self.random_term(opener, inner)
        elif token.kind == ")":
            stop = self.take().stop
            text = f"({inner.text})" if inner.text else ""
            piece = Piece(
                inner.terms, inner.intercept, text, f"({inner.written})", opener.start, stop, inner.bars, inner.offsets
            )
        elif token.kind == "end":
            raise self.fail("this parenthesis is never closed", opener.span)
        else:
            raise self.fail("an operator such as '+' is missing here", (token.start, token.start + 1))
        self.depth -= 1
        return piece

    def random_term(self, opener: Token, left: Piece) -> Piece:
        """The rest of ``(left | group)``, from the bar on."""
        bar = self.take()
        if left.bars or left.offsets:
            raise self.fail("only terms and an intercept can stand left of a bar", (left.start, left.stop))
        groups: list[list[tuple[str, Span]]] = [[]]
        while True:
            token = self.take()
            if token.kind not in ("name", "quoted"):
                raise self.fail(self.bad_group(token, bar, bool(groups[0])), token.span)
            groups[-1].append((token.text, token.span))
            token = self.take()
            if token.kind == "/":
                groups.append([])
            elif token.kind == "end":
                raise self.fail("this parenthesis is never closed", opener.span)
            elif token.kind not in (":", ")"):
                raise self.fail(
                    "right of a bar stand names of columns, joined by ':' (interaction) or '/' (nested)", token.span
                )
            if token.kind == ")":
                break
        if not len(left.terms) and left.intercept is False:
            raise self.fail("no column is left on this side of the bar: write (1 | g)", (left.start, left.stop))
        span = (opener.start, token.stop)
        found = Bar(left.terms, left.intercept is not False, left.written, bar.kind, groups, span)
        return Piece(Terms(), None, "", self.source[slice(*span)], *span, bars=[found])

    def bad_group(self, token: Token, bar: Token, begun: bool) -> str:
        if token.kind in (")", "end") and not begun:
            return f"nothing stands right of the bar: write (1 {bar.text} sample)"
        if token.kind in ("call", "braces"):
            return (
                "a grouping factor is a column, or columns joined by ':' or '/'; any column is taken as a factor here"
            )
        return f"the name of a column was expected, but here is {_READABLE.get(token.kind, repr(token.text))}"

    def plain(self, piece: Piece, operator: Token) -> None:
        """Refuse 0, 1, bars and offsets as operands of anything but plus and minus."""
        if piece.special:
            what = "a random effect" if piece.bars else "an offset" if piece.offsets else "0 or 1 (the intercept)"
            raise self.fail(
                f"{what} can only be added to other terms, not combined by {operator.text!r}", (piece.start, piece.stop)
            )

    def offset(self, token: Token) -> Piece:
        opened = self.source.index("(", token.start) + 1
        if not self.source[opened : token.stop - 1].strip():
            raise self.fail("offset() needs an expression: offset(log(size))", token.span)
        atom = self.python(opened, token.stop - 1)
        return Piece(Terms(), None, "", token.text, token.start, token.stop, offsets=[atom])

    def atom(self, token: Token) -> Atom:
        if token.kind in ("name", "quoted"):
            return Atom(token.text, "column", token.span, (Name(token.text, token.span),))
        inner = 1 if token.kind == "braces" else 0
        return self.python(token.start + inner, token.stop - inner, token.span)

    def python(self, start: int, stop: int, span: Span | None = None) -> Atom:
        text, names = read_python(self.source, start, stop)
        span = span or (start, stop)
        if len(names) == 1 and text in (names[0].name, f"`{names[0].name}`"):
            return Atom(names[0].name, "column", span, names)
        return Atom(text, "python", span, names)


def _join(left: str, right: str, minus: bool = False) -> str:
    """Join two texts by a sign; an empty one leaves no trace."""
    if not right:
        return left
    if not left:
        return f"-{right}" if minus else right
    if right.startswith("-") and not minus:
        return f"{left} - {right[1:]}"
    return f"{left} {'-' if minus else '+'} {right}"


def _check_duplicates(random: tuple[RandomTerm, ...], source: str) -> None:
    seen = set()
    for term in random:
        key = (term.basis, frozenset(term.group))
        if key in seen:
            raise FormulaError(f"the random effect {term.label} is given twice", source, term.span)
        seen.add(key)
