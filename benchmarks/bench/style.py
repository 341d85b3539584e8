"""The style sheet of ``index.html``: dark or light as the reader's system is, colours that colour-blind eyes tell apart."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --paper: #ffffff; --rule: #d8dee4;
  --good: #116329; --bad: #a40e26;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b8568f; --c4: #a67c00; --c5: #3f9fd0; --c6: #6b7280; --c7: #1b1f24; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; --rule: #30363d;
  --good: #57ab5a; --bad: #f47067;
  --c0: #56b4e9; --c1: #f0883e; --c2: #2ec4a0; --c3: #d98cc0; --c4: #e6c229; --c5: #9ecff2; --c6: #9ca3af; --c7: #e6edf3; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } .quiet { color: var(--quiet); }
.stopped { border-left: 4px solid var(--bad); padding-left: .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--rule); padding: .2rem .8rem .2rem 0; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.worse { color: var(--bad); font-weight: 600; } .better { color: var(--good); }
code { font-size: .9em; overflow-wrap: anywhere; }
.plot { display: block; max-width: 100%; height: auto; width: 45rem; }
.plot text { fill: var(--ink); font: 12px system-ui, sans-serif; } .plot .middle { text-anchor: middle; } .plot .end { text-anchor: end; }
.grid { stroke: var(--rule); } .line { fill: none; stroke-width: 2; } .dashed { stroke-dasharray: 6 4; } .key { stroke-width: 3; }
"""
STYLE += "\n".join(
    f".line.c{place} {{ stroke: var(--c{place}); }} .dot.c{place}, .bar.c{place} {{ fill: var(--c{place}); }}" for place in range(8)
)
