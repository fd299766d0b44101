"""Parse the tokens of a formula by recursive descent, with one method for each level of precedence."""

from __future__ import annotations

from collections.abc import Callable

from .._errors import FormulaError
from .algebra import OPERATIONS, Terms, atom_terms
from .language import quoted_column
from .piece import Piece, join
from .python import read_python
from .random import Bar
from .records import Atom, Name, Span
from .tokens import Token, tokenize

MAX_DEPTH = 40


class Parser:
    """Parser of one formula, from left to right."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = tokenize(source)
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The next token, which is of kind ``"end"`` at the end of the formula."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Return the next token and move on; the parser never moves past the last token."""
        token = self.token
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def fail(self, message: str, span: Span | None = None) -> FormulaError:
        """Return an error that marks `span`; by default, the next token."""
        return FormulaError(message, self.source, self.token.span if span is None else span)

    def left_side(self) -> Atom | None:
        """Parse everything before ``~`` as one expression."""
        tildes = [i for i, token in enumerate(self.tokens) if token.kind == "~"]
        if not tildes:
            message = "a formula needs a '~' between the response and the model: counts ~ disease + (1 | sample)"
            raise self.fail(message, (0, self.tokens[-1].stop))
        if len(tildes) > 1:
            raise self.fail("a formula can have only one '~'", self.tokens[tildes[1]].span)
        left = self.tokens[: tildes[0]]
        self.at = tildes[0] + 1
        if not left:
            return None
        for token in left:
            if token.kind in ("|", "||"):
                raise self.fail("a random effect belongs on the right side of '~'", token.span)
        if len(left) == 1 and left[0].kind == "number":
            raise self.fail("a number cannot be the response", left[0].span)
        if len(left) == 1 and left[0].kind in ("name", "quoted", "braces"):
            return self.atom(left[0])
        return self.python(left[0].start, left[-1].stop, response=True)

    def right_side(self) -> Piece:
        """Parse everything after ``~``."""
        if self.token.kind == "end":
            raise self.fail("the right side of '~' is empty: write '~ 1' for an intercept only")
        piece = self.sum()
        if self.token.kind in ("|", "||"):
            raise self.fail("a random effect needs parentheses: (1 | sample)")
        if self.token.kind == ")":
            raise self.fail("this parenthesis was not opened")
        if self.token.kind != "end":
            raise self.missing_operator()
        return piece

    def sum(self) -> Piece:
        """Parse ``a + b - c``, the only level that allows 0, 1, random effects and offsets."""
        start = self.token.start
        total = Piece(Terms(), None, "", "", (start, start))
        first = True
        while first or self.token.kind in ("+", "-"):
            minus = False
            while self.token.kind in ("+", "-"):
                minus ^= self.take().kind == "-"
            piece = self.product()
            if minus and (piece.bars or piece.offsets):
                raise self.fail("a random effect or an offset cannot be subtracted: write + before it", piece.span)
            if minus:
                total.terms.remove(piece.terms)
            else:
                total.terms.add(piece.terms)
            if piece.intercept is not None:
                total.intercept = piece.intercept != minus
            total.bars += piece.bars
            total.offsets += piece.offsets
            total.text = join(total.text, piece.text, minus)
            total.written = join(total.written, piece.written, minus)
            total.span = (start, piece.span[1])
            first = False
        return total

    def product(self) -> Piece:
        """Parse ``a * b`` and ``a / b``."""
        return self.chain(("*", "/"), self.interaction)

    def interaction(self) -> Piece:
        """Parse ``a:b``."""
        return self.chain((":",), self.power)

    def chain(self, operators: tuple[str, ...], operand: Callable[[], Piece]) -> Piece:
        """Parse operands that are joined by operators of one precedence, from left to right."""
        left = operand()
        while self.token.kind in operators:
            operator = self.take()
            right = operand()
            self.need_terms(left, operator)
            self.need_terms(right, operator)
            span = (left.span[0], right.span[1])
            sign = ":" if operator.kind == ":" else f" {operator.text} "
            try:
                terms = OPERATIONS[operator.kind](left.terms, right.terms)
            except OverflowError as error:
                raise self.fail(str(error), span) from None
            left = Piece(terms, None, left.text + sign + right.text, left.written + sign + right.written, span)
        return left

    def power(self) -> Piece:
        """Parse ``(a + b)**2``."""
        base = self.item()
        while self.token.kind in ("**", "^"):
            operator = self.take()
            self.need_terms(base, operator)
            token = self.take()
            if token.kind != "number" or not token.text.isdigit() or not 1 <= int(token.text[:4]) <= 999:
                raise self.fail(f"{operator.text!r} must be followed by a whole number of at least 1", token.span)
            span = (base.span[0], token.stop)
            try:
                terms = base.terms.power(int(token.text))
            except OverflowError as error:
                raise self.fail(str(error), span) from None
            base = Piece(terms, None, f"{base.text}**{token.text}", f"{base.written}**{token.text}", span)
        return base

    def item(self) -> Piece:
        """Parse a name, a call, 0, 1, or something in parentheses."""
        token = self.take()
        if token.kind == "(":
            return self.parentheses(token)
        if token.kind == "number":
            if token.text not in ("0", "1"):
                message = "a number other than 0 and 1 (the intercept) cannot be a term: write I(2 * x) to scale"
                raise self.fail(message, token.span)
            return Piece(Terms(), token.text == "1", "", token.text, token.span)
        if token.kind == "call" and token.function == "offset":
            return self.offset(token)
        if token.kind in ("name", "quoted", "call", "braces"):
            atom = self.atom(token)
            return Piece(atom_terms(atom), None, str(atom), str(atom), token.span)
        raise self.missing_term(token)

    def parentheses(self, opener: Token) -> Piece:
        """Parse a sum or a random-effects term, up to its closing parenthesis."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.fail(f"more than {MAX_DEPTH} nested parentheses", opener.span)
        inner = self.sum()
        if self.token.kind in ("|", "||"):
            piece = self.random_term(opener, inner)
        elif self.token.kind == ")":
            span = (opener.start, self.take().stop)
            text = f"({inner.text})" if inner.text else ""
            piece = Piece(inner.terms, inner.intercept, text, f"({inner.written})", span, inner.bars, inner.offsets)
        elif self.token.kind == "end":
            raise self.fail("this parenthesis is not closed", opener.span)
        else:
            raise self.missing_operator()
        self.depth -= 1
        return piece

    def random_term(self, opener: Token, left: Piece) -> Piece:
        """Parse the rest of ``(left | group)``, from the bar on."""
        bar = self.take()
        if left.bars or left.offsets:
            raise self.fail("only terms and an intercept are allowed on the left of a bar", left.span)
        if not left.terms and left.intercept is False:
            raise self.fail("no column remains on this side of the bar: write (1 | sample)", left.span)
        groups: list[list[tuple[str, Span]]] = [[]]
        while True:
            token = self.take()
            if token.kind not in ("name", "quoted"):
                raise self.bad_group(token, bar, is_first=not groups[0])
            groups[-1].append((token.text, token.span))
            token = self.take()
            if token.kind == ")":
                break
            if token.kind == "end":
                raise self.fail("this parenthesis is not closed", opener.span)
            if token.kind not in (":", "/"):
                message = "right of a bar, use names of columns, joined by ':' (interaction) or '/' (nested)"
                raise self.fail(message, token.span)
            if token.kind == "/":
                groups.append([])
        span = (opener.start, token.stop)
        found = Bar(left.terms, left.intercept is not False, left.written, bar.kind, groups, span)
        return Piece(Terms(), None, "", self.source[slice(*span)], span, bars=[found])

    def offset(self, token: Token) -> Piece:
        """Parse ``offset(expression)``."""
        inside = self.source.index("(", token.start) + 1
        if not self.source[inside : token.stop - 1].strip():
            raise self.fail("offset() needs an expression: offset(log(size))", token.span)
        atom = self.python(inside, token.stop - 1)
        return Piece(Terms(), None, "", token.text, token.span, offsets=[atom])

    def atom(self, token: Token) -> Atom:
        """Return the atom of a name, a call or ``{code}``."""
        if token.kind in ("name", "quoted"):
            return Atom(token.text, "column", token.span, (Name(token.text, token.span),))
        inner = 1 if token.kind == "braces" else 0
        return self.python(token.start + inner, token.stop - inner, token.span)

    def python(self, start: int, stop: int, span: Span | None = None, *, response: bool = False) -> Atom:
        """Return the atom of an expression, which may be a single name."""
        text, names, tree = read_python(self.source, start, stop, response=response)
        span = span or (start, stop)
        columns = tuple(name for name in names if not name.called)
        alone = quoted_column(tree) is not None or len(names) == 1 and text in (names[0].name, f"`{names[0].name}`")
        if alone and len(columns) == 1:
            return Atom(columns[0].name, "column", span, columns)
        return Atom(text, "python", span, names, self.source[span[0]] == "{", tree)

    def need_terms(self, piece: Piece, operator: Token) -> None:
        """Raise an error if an operand is 0, 1, a random effect or an offset, which allow only plus and minus."""
        if piece.intercept is not None or piece.bars or piece.offsets:
            what = "a random effect" if piece.bars else "an offset" if piece.offsets else "0 or 1 (the intercept)"
            message = f"{what} can only be added to other terms, not combined by {operator.text!r}"
            raise self.fail(message, piece.span)

    def missing_operator(self) -> FormulaError:
        """Return the error for two terms side by side."""
        token = self.token
        return self.fail(
            f"an operator such as '+' is missing before {token.text!r}; a name with a space needs backticks, as in "
            "`my column`",
            (token.start, token.start + 1),
        )

    def missing_term(self, token: Token) -> FormulaError:
        """Return the error for a token that is not a term."""
        at = self.tokens.index(token)
        before = self.tokens[at - 1].kind if at else ""
        if before == "(" and token.kind in ("|", "||"):
            return self.fail("the left side of the bar is empty: write (1 | sample) for an intercept", token.span)
        if before == "(" and token.kind == ")":
            return self.fail("these parentheses are empty", (token.start - 1, token.stop))
        after = "" if before in ("", "~") else f" after {before!r}"
        return self.fail(f"a term is expected{after}, not {_shown(token)}", token.span)

    def bad_group(self, token: Token, bar: Token, *, is_first: bool) -> FormulaError:
        """Return the error for a token that is not a grouping column."""
        if token.kind in (")", "end") and is_first:
            return self.fail(f"the right side of the bar is empty: write (1 {bar.text} sample)", token.span)
        if token.kind in ("call", "braces"):
            message = (
                "a grouping factor must be a column, or columns joined by ':' or '/'; numbers and text both become "
                "levels, so no function is needed"
            )
            return self.fail(message, token.span)
        return self.fail(f"the name of a column is expected, not {_shown(token)}", token.span)


def _shown(token: Token) -> str:
    return repr(token.text) if token.text else "the end of the formula"
