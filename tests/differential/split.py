"""A script for psql as single statements: what psql would send, without what only psql does. Pure.

Quotes, comments, dollar quotes and bodies of BEGIN ATOMIC are kept together; variables set by \\set are put in; the data of
COPY FROM STDIN goes with its statement. Other commands of psql are left out, so that all branches of \\if are taken."""

import re
from typing import NamedTuple

TOKEN = re.compile(r"""
    (?P<line_comment>--[^\n]*)
  | (?P<block_comment>/\*)
  | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
  | (?P<string>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*")
  | (?P<dollar>\$(?:[A-Za-z_\x80-\uffff][\w]*)?\$)
  | (?P<variable>(?<!:):(?:'\w+'|"\w+"|\w+))
  | (?P<word>[A-Za-z_][\w$]*)
  | (?P<command>\\[^\n]*)
  | (?P<other>.)
""", re.X | re.S)
COPY = re.compile(r"\s*(?:--[^\n]*\n\s*)*copy\b.*\bfrom\s+stdin\b", re.I | re.S)
SENDS = ("\\g", "\\gx", "\\gset", "\\gexec", "\\gdesc", "\\crosstabview")


class Statement(NamedTuple):
    text: str
    data: str = None  # what follows COPY FROM STDIN


def end_of_comment(text, at):
    depth = 0
    while at < len(text):
        if text.startswith("/*", at):
            depth, at = depth + 1, at + 2
        elif text.startswith("*/", at):
            depth, at = depth - 1, at + 2
            if depth == 0:
                return at
        else:
            at += 1
    return at


class Splitter:
    def __init__(self, variables):
        self.variables = dict(variables)
        self.made = []
        self.clear()

    def clear(self):
        self.pieces, self.parens, self.begins, self.words = [], 0, 0, []

    def split(self, text):
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            kind, piece = found.lastgroup, found.group()
            at = found.end()
            if kind == "block_comment":
                end = end_of_comment(text, found.start())
                piece, at = text[found.start():end], end
            elif kind == "dollar":
                end = text.find(piece, at)
                end = len(text) if end < 0 else end + len(piece)
                piece, at = text[found.start():end], end
            if kind == "command":
                at = self.command(piece, found.start(), at, text)
            elif kind == "other" and piece == ";" and self.parens <= 0 and self.begins == 0:
                self.pieces.append(piece)
                at = self.end(text, at)
            else:
                self.take(kind, piece)
        self.end(text, at)
        return self.made

    def take(self, kind, piece):
        if kind == "variable":
            piece = self.value(piece)
        elif kind == "word":
            self.word(piece.lower())
        elif piece == "(":
            self.parens += 1
        elif piece == ")":
            self.parens -= 1
        self.pieces.append(piece)

    def word(self, word):
        self.words.append(word)
        is_routine = self.words[0] == "create" and any(w in ("function", "procedure") for w in self.words[1:4])
        if is_routine and word == "begin" or self.begins and word == "case":
            self.begins += 1
        elif self.begins and word == "end":
            self.begins -= 1

    def value(self, piece):
        name = piece[1:].strip("'\"")
        if name not in self.variables:
            return piece
        value = self.variables[name]
        if piece[1] == "'":
            return "'" + value.replace("'", "''") + "'"
        return '"' + value.replace('"', '""') + '"' if piece[1] == '"' else value

    def command(self, piece, start, at, text):
        """A backslash and what follows; `at` is the end of the line."""
        word = piece.split()[0]
        if piece.startswith("\\;"):
            self.pieces.append(";")
            return start + 2
        if word == "\\set":
            parts = piece.split()
            self.variables[parts[1]] = "".join(self.value(p) if p.startswith(":") else p.strip("'") for p in parts[2:])
        if word in SENDS:
            return self.end(text, at)
        return at

    def end(self, text, at):
        """Ends the statement; returns where the next begins."""
        statement = "".join(self.pieces).strip()
        self.clear()
        if not statement or statement == ";":
            return at
        if not COPY.match(statement):
            self.made.append(Statement(statement))
            return at
        line = text.find("\n", at) + 1
        end = re.compile(r"^\\\.$", re.M).search(text, line)
        if line == 0 or end is None:
            self.made.append(Statement(statement))
            return at
        self.made.append(Statement(statement, text[line:end.start()]))
        return end.end()


def split(text, variables):
    return Splitter(variables).split(text)
