"""Small changes that break a program: which there are in a file, and the file with one of them made."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
OTHER: dict[type[ast.boolop], str] = {ast.And: "or", ast.Or: "and"}
OPERATOR = re.compile(r"[)\s]*(not in|is not|and|or|in|is|[<>=!]=|[<>+*/-])[(\s]*")
ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
LUA = {
    "==": "~=", "~=": "==", "<=": "<", ">=": ">", "<": "<=", ">": ">=", "+": "-", "-": "+", "and": "or", "or": "and",
}  # fmt: skip
SAID = re.compile(r"\b(log|logger|warnings|print)\b")  # what a person reads is no behaviour that a test must hold


@dataclass(frozen=True)
class Mutation:
    """The characters from *start* to *end* of a file's text, and what stands there instead."""

    file: Path
    start: int
    end: int
    instead: str

    def line(self, text: str) -> int:
        """Return the number of the line in which it begins, from 1."""
        return text.count("\n", 0, self.start) + 1

    def made_in(self, text: str) -> str:
        """Return *text* with the change."""
        return text[: self.start] + self.instead + text[self.end :]

    def shown(self, text: str) -> str:
        """Return the line before and after, on one line."""
        first = text.rfind("\n", 0, self.start) + 1
        last = text.find("\n", self.end)
        before, after = text[first:last], text[first : self.start] + self.instead + text[self.end : last]
        return f"{' '.join(before.split())}  ->  {' '.join(after.split())}"


def mutations_of(file: Path) -> list[Mutation]:
    """Return every change that this module knows of a Python or Lua file, in the order of the text."""
    text = file.read_text()
    found = _of_lua(file, text) if file.suffix == ".lua" else _of_python(file, text)
    return sorted(found, key=lambda mutation: (mutation.start, mutation.instead))


def _of_lua(file: Path, text: str) -> Iterator[Mutation]:
    for line in re.finditer(r"[^\n]*\n", text):
        code = line.group().partition("--")[0]
        for found in re.finditer(r"(?<=\s)(==|~=|<=|>=|<|>|\+|-|and|or)(?=\s)", code):
            start = line.start() + found.start()
            yield Mutation(file, start, start + len(found.group()), LUA[found.group()])
        if call := re.fullmatch(r"\s*(redis\.call\(.*\))\s*", code):
            yield Mutation(file, line.start() + call.start(1), line.start() + call.end(1), "")


class _Text:
    """A Python text, and where the nodes of its tree stand in it."""

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.text = file, text
        self._lines = text.splitlines(keepends=True)
        self._starts = [0, *accumulate(len(line) for line in self._lines)]

    def span(self, node: Any) -> tuple[int, int]:
        """Return where *node* begins and ends; the tree counts bytes of UTF-8."""
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def operator(self, left: ast.AST, right: ast.AST, instead: str) -> Iterator[Mutation]:
        """Yield the change of the operator between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        if word := OPERATOR.fullmatch(self.text, start, end):
            yield Mutation(self.file, *word.span(1), instead)

    def node(self, node: ast.AST, instead: str) -> Iterator[Mutation]:
        """Yield the change of a whole node."""
        yield Mutation(self.file, *self.span(node), instead)


def _of_python(file: Path, text: str) -> Iterator[Mutation]:
    where = _Text(file, text)
    for node in _inside_functions(ast.parse(text)):
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                yield from where.operator(left, right, COMPARISONS[type(op)])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                yield from where.operator(left, right, ARITHMETIC[type(op)])
            case ast.BoolOp(op=op, values=[left, right, *_]):
                yield from where.operator(left, right, OTHER[type(op)])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield from where.node(node, f"({ast.unparse(operand)})")
            case ast.Constant(value=bool() | int() as value):
                yield from where.node(node, str(not value if isinstance(value, bool) else value + 1))
            case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign():
                yield from where.node(node, "pass")


def _inside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what functions do: no annotations, defaults, docstrings, messages of errors or lines of a log."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting: list[ast.AST] = list(function.body)
            while waiting:
                node = waiting.pop()
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Raise | ast.Assert):
                    continue
                if isinstance(node, ast.Expr) and SAID.match(ast.unparse(node)):
                    continue
                yield node
                waiting += [child for child in ast.iter_child_nodes(node) if child is not _unread(node)]


def _unread(node: ast.AST) -> ast.AST | None:
    """Return the child that decides nothing: an annotation, or whether zip complains."""
    match node:
        case ast.AnnAssign(annotation=annotation):
            return annotation
        case ast.keyword(arg="strict", value=value):
            return value
        case _:
            return None
