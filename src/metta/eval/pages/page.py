"""The frame of a page: one HTML file that needs nothing else, readable on light and on dark, written whole."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

CSS = """
:root { color-scheme: light dark; --ink: #1b1d21; --soft: #63676f; --line: #d9dce1; --page: #fcfcfd; --heat: 63 127 214;
        --code: #f0f1f4; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e8eb; --soft: #9a9ea8; --line: #34373e; --page: #16181c; --heat: 90 150 235; --code: #22252b;
          --bad: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 3rem 1.5rem 5rem; max-width: 62rem; background: var(--page); color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--soft); margin: 0 0 1.2rem; }
h2 { font-size: 1.15rem; margin: 3rem 0 .6rem; }
p { margin: .4rem 0 .9rem; max-width: 44rem; }
p.note, footer { color: var(--soft); font-size: .88rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: flex-end; }
.headline div { min-width: 8rem; }
.headline .big { font-size: 3.2rem; font-weight: 700; line-height: 1; letter-spacing: -.02em; }
.headline .mid { font-size: 1.7rem; font-weight: 600; line-height: 1.15; }
.headline span { display: block; color: var(--soft); font-size: .88rem; margin-top: .35rem; }
svg { display: block; width: 100%; min-width: 44rem; height: auto; color: var(--ink); margin: .4rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .7rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .84rem; }
td:first-child, th:first-child { position: sticky; left: 0; background: var(--page); }
td.heat { padding: .42rem .8rem; line-height: 1.3; text-align: center; }
td.failed { color: var(--bad); white-space: normal; min-width: 16rem; }
th { vertical-align: bottom; line-height: 1.3; max-width: 9rem; white-space: normal; }
th small { font-weight: 400; }
td.name { font-weight: 600; }
.bar { display: inline-block; height: .7rem; background: rgb(var(--heat) / .75); border-radius: 2px; }
td.wide { width: 16rem; }
td.left, td.wide, th.left { text-align: left; }
code { background: var(--code); padding: .12rem .35rem; border-radius: 4px; overflow-wrap: anywhere;
       font: .86em ui-monospace, "DejaVu Sans Mono", monospace; }
ul { padding-left: 1.1rem; }
li { margin: .3rem 0; }
a { color: inherit; }
summary { cursor: pointer; color: var(--soft); margin-top: 1.5rem; }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """Return the page. `title`: bare text. `sections`: HTML; empty ones are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def write_page(content: str, path: Path) -> Path:
    """Write the page, whole or not at all, and return its path; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        work.write_text(content, encoding="utf-8")
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
    return path
