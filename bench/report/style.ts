/** Colours are named once here; charts use the same names, so that both follow the reader's scheme. */
const LIGHT = {
  page: "#ffffff",
  panel: "#f5f6f8",
  ink: "#1b1f24",
  soft: "#59636e",
  line: "#d5dae0",
  gain: "#14713d",
  loss: "#b3261e",
  "gain-fill": "#d7f0df",
  "loss-fill": "#fbdedb",
  "bonus-fill": "#dce8fb",
  "series-1": "#1f66c1",
  "series-2": "#b45309",
  "series-3": "#14713d",
  "series-4": "#7c3aad",
  "series-5": "#0b7285",
} as const;

export type ColourName = keyof typeof LIGHT;

const DARK: Readonly<Record<ColourName, string>> = {
  page: "#14171b",
  panel: "#1d2228",
  ink: "#e7eaee",
  soft: "#a3adb8",
  line: "#39424d",
  gain: "#62d492",
  loss: "#ff8f85",
  "gain-fill": "#173d28",
  "loss-fill": "#4d201d",
  "bonus-fill": "#1c3558",
  "series-1": "#6ea8fe",
  "series-2": "#f0a04b",
  "series-3": "#62d492",
  "series-4": "#c79bf2",
  "series-5": "#5cc8d8",
};

/** For an SVG attribute: the page's colour, or the light one where the drawing stands alone. */
export function colour(name: ColourName): string {
  return `var(--${name}, ${LIGHT[name]})`;
}

export const SERIES = ([1, 2, 3, 4, 5] as const).map((n) => colour(`series-${n}`));

function variables(colours: Readonly<Record<ColourName, string>>): string {
  return Object.entries(colours)
    .map(([name, value]) => `--${name}: ${value};`)
    .join(" ");
}

export const STYLE = `
:root { color-scheme: light dark; ${variables(LIGHT)} }
@media (prefers-color-scheme: dark) { :root { ${variables(DARK)} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 72rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
p { max-width: 46rem; margin: .5rem 0; }
a { color: var(--series-1); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none; }
code { font: .875em/1.4 ui-monospace, monospace; background: var(--panel); padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem; min-width: 11rem; }
.tiles b { display: block; font-size: 1.5rem; line-height: 1.2; }
.tiles span { color: var(--soft); font-size: .875rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
td > code { display: inline-block; max-width: 26rem; white-space: normal; text-align: left; }
tbody th { font-weight: 500; }
tr.total > * { font-weight: 700; border-top: 2px solid var(--line); }
td small { color: var(--soft); display: block; }
.gain, .loss { border-radius: 3px; padding: 0 .3em; }
.gain { color: var(--gain); } .loss { color: var(--loss); } .even { color: var(--soft); }
.gain.sure { background: var(--gain-fill); font-weight: 700; } .loss.sure { background: var(--loss-fill); font-weight: 700; }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
.source { color: var(--soft); font-size: .8125rem; max-width: none; }
.source code { font-size: .8125rem; }
.drafts { font: .875rem/1.9 ui-monospace, monospace; padding: 0; list-style: none; margin: .25rem 0 1rem; }
.drafts li { display: inline; white-space: pre-wrap; margin-right: .5rem; }
.drafts span { border-radius: 3px; padding: .1rem .15rem; }
.accepted { background: var(--gain-fill); color: var(--gain); }
.rejected { background: var(--loss-fill); color: var(--loss); text-decoration: line-through; }
.bonus { background: var(--bonus-fill); color: var(--series-1); }
footer { padding-bottom: 3rem; }
`;
