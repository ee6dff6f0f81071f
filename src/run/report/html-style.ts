/** The style of the page, for light and dark. */
export const STYLE = `
:root { color-scheme: light dark; --text: #1c1e21; --back: #fff; --grid: #dcdfe4; --dim: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #16181b; --grid: #34383e; --dim: #9aa3ae; } }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1340px; margin: 0 auto; padding: 16px 24px 48px; }
h1 { font-size: 22px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin-top: 32px; }
.wide { overflow-x: auto; }
.wide tbody td, .wide th[scope=col] { min-width: 11em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 16px 4px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--grid); overflow-wrap: anywhere; }
th[scope=row] { font-weight: normal; color: var(--dim); white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 20px; }
figure { margin: 0; }
figcaption { font-weight: 600; overflow-wrap: anywhere; }
figure p { margin: 0; color: var(--dim); font-size: 13px; }
figure svg { width: 100%; height: auto; }
svg text { fill: var(--dim); font-size: 11px; }
.left { text-anchor: end; }
.below { text-anchor: middle; }
.grid { stroke: var(--grid); }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
.dot { stroke-width: 5; }
.attempt { stroke: #c2410c; stroke-dasharray: 4 3; stroke-width: 1.5; }
.checkpoint { stroke: var(--dim); stroke-dasharray: 1 3; }
.key { width: 12px; height: 12px; }
.c0 { stroke: #2563eb; } .c1 { stroke: #d97706; } .c2 { stroke: #059669; } .c3 { stroke: #dc2626; } .c4 { stroke: #7c3aed; }
.c5 { stroke: #0891b2; } .c6 { stroke: #be185d; } .c7 { stroke: #65a30d; } .c8 { stroke: #6b7280; } .c9 { stroke: #92400e; }
pre { overflow-x: auto; font-size: 13px; }
`;
