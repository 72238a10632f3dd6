"""A diagnosis as one HTML file that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from html import escape
from string import Template

from procession.doctor.findings import Diagnosis, Finding
from procession.doctor.telling.figures import label, told
from procession.doctor.telling.text import counts, fitted, place_and_line

WIDEST = 96  # characters of code in a line
STYLE = """\
:root { color-scheme: light dark; --line: #8884; --dim: #888; --error: #c62828; --warning: #b26a00; --note: #00758f; }
@media (prefers-color-scheme: dark) { :root { --error: #ff7b72; --warning: #e3b341; --note: #56c8e0; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h1 small { font-weight: normal; color: var(--dim); }
article { border-left: 4px solid; padding: .2rem 0 .2rem 1rem; margin: 1.5rem 0; border-color: var(--line); }
article.error { border-color: var(--error); } article.warning { border-color: var(--warning); }
article.note { border-color: var(--note); }
h2 { font-size: 1.05rem; margin: 0 0 .4rem; }
.error h2 b { color: var(--error); } .warning h2 b { color: var(--warning); }
.note h2 b { color: var(--note); }
dl { display: grid; grid-template-columns: 4rem 1fr; gap: .2rem 1rem; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; min-width: 0; } code, pre { font: .88rem/1.45 ui-monospace, monospace; }
pre { margin: 0; padding: .6rem .8rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: collapse; margin: .5rem 0; } td { padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
.bar { display: inline-block; height: .7rem; background: var(--note); border-radius: 2px; }
footer { color: var(--dim); }
"""
PAGE = Template("""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$target: $counts</title><style>$style</style></head><body>
<h1>$target <small>$counts</small></h1>
$findings
$measured
<footer>procession doctor: $checks checks in $seconds s</footer>
</body></html>
""")
FINDING = Template("""\
<article class="$severity" id="$code"><h2><b>$code</b> $title</h2><dl>
$where<dt>seen</dt><dd>$evidence</dd><dt>why</dt><dd>$why</dd><dt>write</dt><dd><pre>$fix</pre></dd>
</dl></article>
""")


def page(diagnosis: Diagnosis) -> str:
    """The page as text."""
    return PAGE.substitute(
        target=escape(diagnosis.target),
        counts=escape(counts(diagnosis) or "nothing found"),
        style=STYLE,
        findings="".join(map(_finding, diagnosis.findings)),
        measured=_measured(diagnosis),
        checks=len(diagnosis.checks),
        seconds=f"{diagnosis.seconds:.1f}",
    )


def frame(diagnosis: Diagnosis) -> str:
    """The page in a frame, for a notebook, whose own styles it shall not touch."""
    return f'<iframe srcdoc="{escape(page(diagnosis))}" style="width: 100%; height: 40rem; border: 0"></iframe>'


def _finding(finding: Finding) -> str:
    where = ""
    for place in finding.where:
        shown, line = place_and_line(place)
        stands = f"<pre>{escape(line)}</pre>" if line else ""
        where += f"<dt>where</dt><dd><code>{escape(shown)}</code>{stands}</dd>"
    return FINDING.substitute(
        severity=finding.severity,
        code=escape(finding.code),
        title=escape(finding.title),
        where=where,
        evidence=_lines(finding.evidence),
        why=_lines(finding.why),
        fix=escape(fitted(finding.fix.rstrip(), WIDEST)),
    )


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _measured(diagnosis: Diagnosis) -> str:
    rows = "".join(
        f"<tr><td>{escape(label(name))}</td><td>{escape(told(name, value))}</td></tr>"
        for name, value in diagnosis.figures.items()
    )
    profile = "".join(
        f'<tr><td>{share:.0%} <span class="bar" style="width:{share * 8:.2f}rem"></span></td>'
        f"<td><code>{escape(place)}</code></td><td><code>{escape(line)}</code></td></tr>"
        for place, line, share in diagnosis.profile
    )
    measured = f"<h2>Measured</h2><table>{rows}</table>" if rows else ""
    return measured + (f"<h2>Where the time of an item goes</h2><table>{profile}</table>" if profile else "")
