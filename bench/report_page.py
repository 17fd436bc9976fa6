# SPDX-License-Identifier: Apache-2.0
"""Sections of the report as an HTML page without network, and as Markdown."""

from dataclasses import dataclass, field
from html import escape

CSS = """
:root{color-scheme:light dark;--ink:#1f2328;--dim:#656d76;--rule:#d8dee4;--back:#fff;--bar:#ddeaff;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9198a1;--rule:#30363d;--back:#0d1117;--bar:#17325c;
--bad:#ff7b72}}
body{margin:0 auto;max-width:1240px;padding:24px 20px 60px;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:40px 0 8px}p{max-width:72ch}.dim,figcaption{color:var(--dim)}
figure{margin:12px 0;overflow-x:auto}svg{max-width:100%;height:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 7px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th{color:var(--dim);font-weight:600;white-space:normal;vertical-align:bottom;}
.bad{color:var(--bad);font-weight:600}.prose{text-align:left;white-space:normal;min-width:34em}
.wrap{white-space:normal;min-width:15.5em}
th.group{text-align:left;padding-top:14px;color:var(--ink)}.mean td{color:var(--dim)}
.notice{color:var(--bad)}ol{font-size:13px;max-width:100ch}
.facts td{text-align:left;white-space:normal}.facts td:first-child{color:var(--dim);white-space:nowrap;
vertical-align:top}"""



@dataclass
class Section:
    title: str
    text: str
    picture: str = None
    file: str = None
    table: list = None
    notice: str = ""  # what a reader must not overlook
    notes: list = field(default_factory=list)  # below the table, which refers to them by number


NO_BREAK = "\u2011"  # a hyphen at which no line ends

# What a cell's text begins with.
KINDS = {"!": "bad", "~": "prose", "&": "wrap"}


def cell_html(text, tag="td"):
    kind = KINDS.get(text[:1])
    return f'<{tag} class="{kind}">{escape(text[1:])}</{tag}>' if kind else f"<{tag}>{escape(text)}</{tag}>"


def cell_markdown(text):
    kind, text = KINDS.get(text[:1]), text[text[:1] in KINDS:].replace("|", r"\|")
    return f"**{text}**" if kind == "bad" else text


def line_html(line, width):
    if len(line) == 1:
        return f'<tr><th class="group" colspan="{width}">{escape(line[0])}</th></tr>'
    kind = ' class="mean"' if line[0] == "geometric mean" else ""
    return f"<tr{kind}>" + "".join(map(cell_html, line)) + "</tr>"


def table_html(table):
    if len(table[0]) == 2:
        body = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in table[1:])
        return f'<table class="facts">{body}</table>'
    head = "".join(cell_html(text, "th").replace("-", NO_BREAK) for text in table[0])
    body = "".join(line_html(line, len(table[0])) for line in table[1:])
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def html(report, sections, method):
    parts = [f"<h1>Gatekern on {escape(report['machine']['cpu'])}</h1>",
             f'<p class="dim">{escape(report["system"]["date"])}, version {escape(report["machine"]["version"])}, '
             f'{report["machine"]["threads"]} threads</p>']
    for section in sections:
        if section.title:
            parts.append(f"<h2>{escape(section.title)}</h2>")
        if section.notice:
            parts.append(f'<p class="notice">{escape(section.notice)}</p>')
        if section.text:
            parts.append(f'<p class="dim">{escape(section.text)}</p>')
        if section.picture:
            parts.append(f"<figure>{section.picture}</figure>")
        if section.table:
            parts.append(table_html(section.table))
        if section.notes:
            parts.append(f"<ol>{''.join(f'<li>{escape(note)}</li>' for note in section.notes)}</ol>")
    parts += ["<h2>Method</h2>", f"<p>{escape(method)}</p>"]
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>Gatekern benchmark</title><style>{CSS}</style><body>{''.join(parts)}</body></html>\n")


def markdown(report, sections, method):
    lines = [f"# Gatekern on {report['machine']['cpu']}", "", f"{report['system']['date']}, version "
             f"{report['machine']['version']}, {report['machine']['threads']} threads", ""]
    for section in sections:
        lines += [f"## {section.title}", ""] if section.title else []
        lines += [f"**{section.notice}**", ""] if section.notice else []
        lines += [section.text, ""] if section.text else []
        if section.picture:
            lines += [f"![{section.title}]({section.file}.svg)", ""]
        if section.table:
            rows = [[cell_markdown(text) for text in line] for line in section.table]
            rows = [[f"**{row[0]}**"] + [""] * (len(rows[0]) - 1) if len(row) == 1 else row for row in rows]
            lines += ["| " + " | ".join(rows[0]) + " |", "|---" + "|---:" * (len(rows[0]) - 1) + "|"]
            lines += ["| " + " | ".join(row) + " |" for row in rows[1:]] + [""]
        if section.notes:
            lines += [f"{number}. {note}" for number, note in enumerate(section.notes, 1)] + [""]
    return "\n".join(lines + ["## Method", "", method, ""])
