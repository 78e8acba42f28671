"""The style sheet of the HTML report: light and dark, printable, nothing from the network."""

STYLE = """
:root{--bg:#fff;--fg:#1c1e21;--dim:#667;--line:#dde;--card:#f6f7f9;--bad:#c62828;--ok:#2e7d32;--warn:#b26a00;
--info:#1565c0;--ref:#1565c0}
@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e6e7ea;--dim:#99a;--line:#333a44;--card:#1f2329;
--bad:#ef6c6c;--ok:#6cc070;--warn:#e0a94a;--info:#6aa9f4;--ref:#6aa9f4}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.35rem;margin:.2rem 0}h2{font-size:1.1rem;margin:2rem 0 .6rem;border-bottom:1px solid var(--line)}
.badge{display:inline-block;padding:.1rem .6rem;border-radius:.3rem;color:var(--bg);background:var(--dim)}
.FAIL,.ERROR{--c:var(--bad)}.PASS{--c:var(--ok)}.WARN,.WARNING{--c:var(--warn)}
.INFO{--c:var(--info)}.badge.FAIL,.badge.PASS,.badge.WARN{background:var(--c)}
.dim{color:var(--dim)}.finding{border-left:4px solid var(--c,var(--line));background:var(--card);
padding:.5rem .9rem;margin:.7rem 0}.finding b{color:var(--c)}
table{border-collapse:collapse;margin:.5rem 0;width:100%}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
pre{background:var(--card);padding:.6rem .9rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
code,pre{font:13px/1.45 ui-monospace,monospace}
ins{color:var(--ok);text-decoration:none}del{color:var(--bad);text-decoration:none}
.trained{color:var(--ok);font-weight:600}.untrained{color:var(--dim)}
figure{display:inline-block;width:49%;min-width:20rem;margin:0}figcaption{font-weight:600}
svg{width:100%;height:auto;font:11px system-ui,sans-serif;fill:var(--dim)}
svg .axis{fill:none;stroke:var(--dim)}svg .peak{stroke:var(--dim);stroke-dasharray:2 3}
svg .line{fill:none;stroke-width:1.8}
svg .s0{stroke:var(--bad)}svg .s1{stroke:var(--ref)}svg .s2{stroke:var(--ok)}
svg circle.s0{fill:var(--bad);stroke:none}svg circle.s1{fill:var(--ref);stroke:none}
svg circle.s2{fill:var(--ok);stroke:none}svg text.cross{stroke:none;font-size:14px}
svg text.s0{fill:var(--bad)}svg text.s1{fill:var(--ref)}svg text.s2{fill:var(--ok)}
.key{display:inline-block;width:1.4rem;height:.25rem;margin-right:.4rem;vertical-align:middle}
.key.s0{background:var(--bad)}.key.s1{background:var(--ref)}.key.s2{background:var(--ok)}
.bar{display:flex;height:.8rem;width:14rem;background:var(--line)}
.bar i{display:block;height:100%}.bar .a{background:#5c7cfa}.bar .b{background:#22b8cf}.bar .c{background:#868e96}
details{margin:.4rem 0}
@media print{body{max-width:none;padding:0}.finding{break-inside:avoid}}
"""
