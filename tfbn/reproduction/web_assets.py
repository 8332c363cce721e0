"""What frames the HTML page of a report: its style and its script."""

import html

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --paper: #ffffff; --line: #d5dbe2;
  --soft: #f3f5f8; --link: #1457a8; --true: #d4ecd9; --dot: #1457a8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ee; --paper: #14191f; --line: #38424e; --soft: #1d242c;
    --link: #7ab4f5; --true: #234a2e; --dot: #7ab4f5; }
  img { background: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 4rem; max-width: 78rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 2.5rem 0 .5rem; }
p, li { max-width: 46rem; overflow-wrap: break-word; }
a { color: var(--link); }
code { font-size: .85em; background: var(--soft); padding: .1em .25em;
  overflow-wrap: anywhere; }
small { display: block; opacity: .75; font-size: .8rem; line-height: 1.35; }
img { display: block; max-width: 100%; height: auto; margin: 1.25rem 0; }
details { margin: 1rem 0; }
summary { cursor: pointer; }
.summary { font-size: 1.1rem; font-weight: 600; }
.answer { border: 1px solid var(--line); background: var(--soft); padding: 0 1rem 1rem;
  border-radius: .5rem; margin-top: 1.5rem; }
.answer h2 { margin-top: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; line-height: 1.4; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem;
  border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: var(--soft); padding: 0; }
th button { all: unset; cursor: pointer; padding: .45rem .6rem; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--link); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
td svg { display: block; margin-top: .25rem; }
.side { display: block; white-space: nowrap; }
.side svg { display: inline-block; vertical-align: middle; margin: 0; }
svg circle { fill: var(--dot); fill-opacity: .75; }
svg .beyond { stroke: var(--dot); stroke-width: 1.5; }
svg .true { fill: var(--true); }
svg .zero { stroke: var(--ink); stroke-opacity: .4; }
svg .range { stroke: var(--dot); stroke-width: 2; }
.verdict { display: inline-block; padding: .1rem .5rem; border-radius: 1rem;
  border: 1px solid currentColor; }
.holds, .equivalent { color: #1d7a3a; }
.contradicted { color: #b3261e; }
.open { color: #8a6100; }
@media (prefers-color-scheme: dark) {
  .holds, .equivalent { color: #79d091; }
  .contradicted { color: #f2938c; }
  .open { color: #e5b95c; } }
@media (max-width: 46rem) {
  body { padding: .75rem .75rem 3rem; }
  thead { display: flex; flex-wrap: wrap; margin-bottom: .5rem; }
  thead tr { display: flex; flex-wrap: wrap; gap: .25rem; }
  th { position: static; border: 1px solid var(--line); border-radius: 1rem; }
  th button { padding: .15rem .6rem; font-size: .8rem; }
  table, tbody { display: block; }
  tbody tr { display: block; border: 1px solid var(--line); border-radius: .5rem;
    margin-bottom: .75rem; padding: .35rem .6rem; background: var(--paper); }
  td { display: block; border: 0; padding: .2rem 0; }
  td:not(:first-child)::before { content: attr(data-label) ": "; font-size: .75rem;
    opacity: .7; }
  td:first-child { font-weight: 600; }
  td[data-label=seeds], td[data-label^="p "], td[data-label^=sign] {
    display: inline-block; margin-right: 1rem; }
  td small { font-weight: 400; }
  .side { white-space: normal; } }
"""

# A click on the head of a column sorts its table; another one reverses the order.
_SCRIPT = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table");
    const column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    const key = row => row.children[column].dataset.key;
    const rows = [...table.tBodies[0].rows];
    const numeric = rows.every(row => key(row) === "" || !isNaN(key(row)));
    const compare = (a, b) => numeric
      ? (key(a) === "") - (key(b) === "") || key(a) - key(b)
      : key(a).localeCompare(key(b));
    rows.sort((a, b) => down ? compare(b, a) : compare(a, b));
    table.tBodies[0].append(...rows);
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
}
"""


def document(title: str, body: str) -> str:
    """Returns a complete HTML document."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
<script>{_SCRIPT}</script>
</body>
</html>
"""
