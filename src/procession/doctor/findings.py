"""What the doctor says: codes, what was found under them, and the whole of it as a plain value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

Severity = Literal["error", "warning", "note"]
MOST_EVIDENCE = 3000  # characters
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the gravest first


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding: what is the same wherever it is found, and its page in `docs/errors`."""

    number: str  # "PRC101"
    title: str  # a sentence without a full stop
    severity: Severity
    why: str  # why it matters
    fix: str  # Python or shell that can be pasted
    how: str  # how it is found

    def found(self, evidence: str, *where: Place, **changes: Any) -> Finding:
        """A finding under this code; `changes`: of title, severity, why or fix, where this one differs."""
        if len(evidence) > MOST_EVIDENCE:  # an exception's text may be anything
            evidence = f"{evidence[:MOST_EVIDENCE]} … ({len(evidence):,} characters)"
        finding = Finding(self.number, self.severity, self.title, where, evidence, self.why, self.fix)
        return replace(finding, **changes) if changes else finding


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: a line of code, an attribute, or both."""

    file: str = ""
    line: int = 0  # 0: not known
    function: str = ""  # Photos.__getitem__
    attribute: str = ""  # source.paths[3]

    def __str__(self) -> str:
        """`train.py:41 in Photos.__getitem__, source.cache`."""
        line = f"{self.file}:{self.line}" if self.line else self.file
        code = f"{line} in {self.function}" if line and self.function else line or self.function
        return ", ".join(filter(None, [code, self.attribute]))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or good to know."""

    code: str
    severity: Severity
    title: str
    where: tuple[Place, ...]
    evidence: str  # what was seen, with values
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one check."""

    name: str
    asks: str  # the question
    seconds: float  # of its observations; several checks may share one
    outcome: Literal["done", "partly", "not done"]
    reason: str = ""  # why not all of it


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis:
    """What `procession doctor` prints, as a plain value.

    Attributes:
        target: what was looked at.
        findings: the gravest first.
        checks: what was looked for, and whether that could be done.
        figures: what was measured: name → value, times in seconds, sizes in bytes.
        profile: where the time of an item goes: (place, line of code, share of the time), the largest first.
        seconds: how long it took.
    """

    target: str
    findings: tuple[Finding, ...] = ()
    checks: tuple[Checked, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    profile: tuple[tuple[str, str, float], ...] = ()
    seconds: float = 0.0

    @property
    def worst(self) -> Severity | None:
        """The severity of the gravest finding; None if there is none."""
        return self.findings[0].severity if self.findings else None

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of a severity, and those that are graver."""
        return tuple(each for each in self.findings if SEVERITIES.index(each.severity) <= SEVERITIES.index(severity))

    def to_dict(self) -> dict[str, Any]:
        """As values that JSON has."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Diagnosis:
        """Undo `to_dict`, also after a journey through JSON."""
        findings = [
            Finding(**{**each, "where": tuple(Place(**place) for place in each["where"])})
            for each in values["findings"]
        ]
        checks = tuple(Checked(**each) for each in values["checks"])
        profile = tuple((place, line, share) for place, line, share in values["profile"])
        return cls(**{**values, "findings": tuple(findings), "checks": checks, "profile": profile})

    def __repr__(self) -> str:
        """`Diagnosis('Photos', 1 error, 2 notes)`; `print` it to read it."""
        from procession.doctor.telling.text import counts

        return f"Diagnosis({self.target!r}, {counts(self) or 'nothing found'})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the page, in a frame of its own."""
        from procession.doctor.telling.page import frame

        return frame(self)

    def __str__(self) -> str:
        """What the command prints, without colours."""
        from procession.doctor.telling.text import as_text

        return as_text(self)


def by_weight(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The gravest first; among equals by code, then in the order in which they were found."""
    return tuple(sorted(findings, key=lambda each: (SEVERITIES.index(each.severity), each.code)))
