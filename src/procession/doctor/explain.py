"""Which case of the catalogue a pasted traceback, warning or description is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from procession.doctor.catalogue import CASES
from procession.doctor.catalogue.case import Case

MOST_BY_WORDS = 5
MOST_TEXT = 100_000  # characters that are looked at, from the end, where errors are
LEAST_SHARE = 0.25  # of the weight of all words of the text
LEAST_WEIGHT = 4.0  # of the common ones, two at least: what is in every third case says nothing
WORDS = 10.0  # how many letters of a sign it is worth that all words are in common

# How much a match counts, by where it ends.
LAST_ERROR, OTHER_ERROR, CHAINED, ASIDE = 1.0, 0.8, 0.7, 0.15
_BLOCK = re.compile(
    r"(?m)^(?=Traceback \(most recent|Exception ignored|The above exception was|During handling of|.*Warning: )"
)
_WARNING = re.compile(r".*?Warning: .*(\n[ \t].*)?\n?")
_NO_LETTERS = re.compile(r"\\[A-Za-z0]|\[\^?[^\]]*\]|\{[^}]*\}|\(\?\w*[:)!=<]?|[().*+?|^$\\]")

_STOP = frozenset(
    re.findall(
        r"\w+",
        """
        about after again all also and any are attribute attributeerror because been before but can cannot could did
        does doing don errors every for from get gets goes going got had has have how importerror indexerror
        into its just keras keyerror like make many more most much my nameerror need not now object off one only
        oserror other our out over own runtimeerror same say says see should since some still such than that the their
        them then there these they this those too turn two typeerror until use used uses using valueerror very was way
        well were what when where which while who why will with without would you your
        """,
    )
)
_SAME = {
    word: words.split()[0]
    for words in (
        "hang hung freeze frozen froze stuck block stall deadlock halt",
        "memory ram rss",
        "worker num_worker",
        "training train fit",
        "oom out-of-memory",
        "crash segfault segmentation",
        "die death dead died kill killed",
        "slow slower",
        "random rng numpy.random",
        "file path",
        "image picture jpeg jpg png photo",
        "corrupt damaged broken truncated bad unreadable",
        "left remain orphan leftover alive",
        "gpu cuda",
        "notebook jupyter colab ipython",
        "duplicate repeat identical same",
        "last end final",
        "grow increase climb rise",
    )
    for word in words.split()
}


Found = tuple[float, str]  # what counts for a case, and the piece of the text that does
NOTHING: Found = (0.0, "")


@dataclass(frozen=True, slots=True)
class Match:
    """A case that fits a text."""

    case: Case
    sign: str  # the part of the text that says so
    sure: bool = True  # else by words in common only


def explain(text: str) -> list[Match]:
    """Return the cases that fit a text, the best one first.

    A code (PRC203), the number of a case or its name decide; then the signs of errors and warnings: the longer
    ones, and those of the last error, count more. Only where there are none of these, the words of the text do.

    Args:
        text: a traceback, a warning, a message, or some words about what is seen.

    Example:
        >>> from procession.doctor.explain import explain
        >>> [match.case.number for match in explain("OSError: AF_UNIX path too long")]
        ['E16']
    """
    text = text[-MOST_TEXT:]
    common = _by_words(text)
    total = _weight(text)
    by_sign = _by_signs(text, {case: WORDS * weight / total for case, (weight, _) in common.items()})
    named = _named(text)
    first = sorted(named, key=lambda case: (by_sign.get(case, NOTHING)[0], common[case][0]), reverse=True)
    others = _best({case: found for case, found in by_sign.items() if case not in named})
    matches = [*(Match(case, named[case]) for case in first), *others]
    return matches or [replace(each, sure=False) for each in _best(_likely(common, total))[:MOST_BY_WORDS]]


def _best(found: dict[Case, Found]) -> list[Match]:
    return [Match(case, piece) for case, (_, piece) in sorted(found.items(), key=lambda item: -item[1][0])]


# --- what is named ---


def _named(text: str) -> dict[Case, str]:
    """The cases of which a code, the number or the name is in the text; a number only where it is all of the text."""
    codes = set(re.findall(r"\bPRC\d{3}\b", text))
    number = re.fullmatch(r"\s*(?:case\s+)?([A-H]\d{1,2})\s*", text)
    found = {}
    for case in CASES:
        if number and case.number == number[1]:
            found[case] = case.number
        elif re.search(rf"(?<![\w-]){re.escape(case.name)}(?![\w-])", text):
            found[case] = case.name
        elif shown := sorted(codes & set(case.codes)):
            found[case] = shown[0]
    return found


# --- signs ---


def _by_signs(text: str, besides: dict[Case, float]) -> dict[Case, Found]:
    """The cases of which a sign is in the text: how much it counts, and the piece of the text."""
    blocks = list(_blocks(text))
    found: dict[Case, Found] = {}
    for case in CASES:
        for sign in case.signs:
            letters = len(_NO_LETTERS.sub("", sign))
            for match in re.finditer(sign, text):
                where = next((weight for end, weight in blocks if match.end() <= end), LAST_ERROR)
                score = where * (min(letters, len(match[0])) + besides[case])
                if score > found.get(case, NOTHING)[0]:
                    found[case] = score, match[0]
    return found


def _blocks(text: str) -> Iterator[tuple[int, float]]:
    """Where each piece of the text ends, and how much a match there counts."""
    starts = sorted({0, *(match.start() for match in _BLOCK.finditer(text))})
    pieces = [(start, text[start:end]) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    last = max((k for k, (_, piece) in enumerate(pieces) if _is_error(pieces, k)), default=None)
    for number, (start, piece) in enumerate(pieces):
        following = pieces[number + 1][1] if number + 1 < len(pieces) else ""
        if warning := _WARNING.match(piece):
            yield start + warning.end(), ASIDE
            yield start + len(piece), LAST_ERROR if last is None else OTHER_ERROR
        elif piece.startswith("Exception ignored") or _is_ignored(pieces, number):
            yield start + len(piece), ASIDE
        elif following.startswith(("The above exception was", "During handling of")):
            yield start + len(piece), CHAINED
        else:
            yield start + len(piece), LAST_ERROR if last in (None, number) else OTHER_ERROR


def _is_error(pieces: list[tuple[int, str]], number: int) -> bool:
    return pieces[number][1].startswith("Traceback") and not _is_ignored(pieces, number)


def _is_ignored(pieces: list[tuple[int, str]], number: int) -> bool:
    """Whether it is the traceback of an `Exception ignored in`."""
    before = pieces[number - 1][1] if number else ""
    return pieces[number][1].startswith("Traceback") and before.startswith("Exception ignored")


# --- words ---


def _likely(common: dict[Case, Found], total: float) -> dict[Case, Found]:
    """The cases that have enough in common with the text."""
    least = max(LEAST_WEIGHT, LEAST_SHARE * total)
    return {case: found for case, found in common.items() if found[0] >= least and ", " in found[1]}


def _weight(text: str) -> float:
    """The weight of all words of a text; those that are in no case count as the rarest."""
    _, rarity = _words_of_cases()
    return sum(rarity.get(word, math.log(len(CASES))) for word in _words(text)) or 1.0


def _by_words(text: str) -> dict[Case, Found]:
    """What each case has in common with the text: the weight of the words, by how rare they are, and the words."""
    words_of, rarity = _words_of_cases()
    words = _words(text)
    found = {}
    for case, known in words_of.items():
        common = [word for word in words if word in known]
        weight = sum(rarity[word] * known[word] for word in common)
        found[case] = weight, ", ".join(words[word] for word in common)
    return found


@cache
def _words_of_cases() -> tuple[dict[Case, dict[str, float]], dict[str, float]]:
    """For each case its words and what they count there; for each word how rare it is over all cases."""
    words_of: dict[Case, dict[str, float]] = {}
    for case in CASES:
        known = dict.fromkeys(_words(case.cause), 0.6)
        known.update(dict.fromkeys(_words(f"{case.symptom} {case.name.replace('-', ' ')}"), 1.0))
        words_of[case] = known
    counts: dict[str, int] = {}
    for known in words_of.values():
        for word in known:
            counts[word] = counts.get(word, 0) + 1
    return words_of, {word: math.log(len(CASES) / count) for word, count in counts.items()}


def _words(text: str) -> dict[str, str]:
    """The words of a text by their stems, in order."""
    found: dict[str, str] = {}
    for word in re.findall(r"[A-Za-z][\w./-]*\w", text):
        for part in (word, *re.split(r"[./-]", word)):
            lower = part.lower()
            if len(lower) > 2 and lower not in _STOP:
                found.setdefault(_stem(lower), part)
    return found


def _stem(word: str) -> str:
    """A word without its ending; words that mean the same here are one."""
    if word in _SAME:
        return _SAME[word]
    for ending in ("ingly", "ing", "ies", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word.removesuffix(ending)
            bare = stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "sl" else stem
            return next((_SAME[form] for form in (stem, bare, stem + "e") if form in _SAME), bare.removesuffix("e"))
    return word.removesuffix("e") if len(word) > 4 else word
