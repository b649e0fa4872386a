import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { type Html, html, trusted } from "./html.ts";
import { colour, SERIES } from "./style.ts";

/** Drawing settings shared by all figures; colours follow the page. */
const CONFIG: NonNullable<TopLevelSpec["config"]> = {
  background: "transparent",
  // The whole drawing is hidden from readers aloud (figureHtml).
  aria: false,
  font: "system-ui, sans-serif",
  view: { stroke: colour("line") },
  axis: {
    labelFontSize: 9.5,
    titleFontSize: 10,
    labelColor: colour("soft"),
    titleColor: colour("soft"),
    gridColor: colour("line"),
    domainColor: colour("line"),
    tickColor: colour("line"),
    titleFontWeight: "normal",
  },
  header: { labelColor: colour("ink"), titleColor: colour("ink"), labelFontSize: 11.5, labelPadding: 4 },
  legend: {
    labelColor: colour("ink"),
    titleColor: colour("soft"),
    symbolStrokeWidth: 3,
    orient: "top",
    title: null,
    labelLimit: 300,
  },
  range: { category: SERIES },
  line: { color: SERIES[0]! },
  point: { color: SERIES[0]!, filled: true, opacity: 1 },
};

export type Datum = Readonly<Record<string, string | number>>;

export interface Figure {
  /** File name of the drawing, without its ending. */
  readonly name: string;
  /** What it shows and how to read it. */
  readonly caption: string;
  readonly svg: string;
}

async function draw(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile({ ...spec, config: CONFIG }).spec), { renderer: "none" });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** A hundredth of a pixel is fine enough. */
const FRACTIONS = /(\.\d{2})\d+/g;
/** Attributes that are the defaults, or that nobody reads in a hidden drawing: a quarter of the page. */
const SAYS_NOTHING =
  / (?:aria-[a-z]+="[^"]*"|role="graphics-[a-z]+"|class="[^"]*"|pointer-events="none"|opacity="1"|stroke-width="1"|transform="translate\(0,0\)")/g;

export function figureHtml({ caption, svg }: Figure): Html {
  // The drawing's texts alone make no sense read out; the caption and the tables say what it shows.
  const short = svg.replaceAll(FRACTIONS, "$1").replaceAll(SAYS_NOTHING, "");
  const hidden = short.replace("<svg ", '<svg aria-hidden="true" ');
  return html`<figure>${trusted(hidden)}<figcaption>${caption}</figcaption></figure>`;
}

interface Axes {
  readonly x: string;
  readonly y: string;
  readonly xTitle: string;
  readonly yTitle: string;
}

/** A small line chart for each value of `panel`, on common scales; data with `mark` 1 get a ring. */
export async function panels(
  data: readonly Datum[],
  axes: Axes,
  options: { readonly panel: string; readonly series: string | null; readonly xStep: number },
): Promise<string> {
  const { x, y, xTitle, yTitle } = axes;
  const order = [...new Set(data.map((datum) => datum[options.panel]!))] as string[];
  const series = options.series;
  const names = series === null ? [] : ([...new Set(data.map((datum) => datum[series]!))] as string[]);
  const encoding = {
    x: {
      field: x,
      type: "quantitative" as const,
      title: xTitle,
      axis: { grid: false, tickCount: 5, tickMinStep: options.xStep },
    },
    y: { field: y, type: "quantitative" as const, title: yTitle, scale: { zero: false } },
    ...(series === null
      ? {}
      : { color: { field: series, type: "nominal" as const, sort: names, scale: { domain: names, range: SERIES } } }),
  };
  return draw({
    data: { values: [...data] },
    facet: { field: options.panel, type: "nominal", sort: order, title: null },
    columns: 5,
    spacing: 22,
    resolve: { axis: { x: "independent", y: "independent" } },
    spec: {
      width: 165,
      height: 110,
      layer: [
        { mark: { type: "line", strokeWidth: 2 }, encoding },
        {
          transform: [{ filter: "datum.mark === 1" }],
          mark: { type: "point", filled: false, size: 90, strokeWidth: 2, color: colour("series-2") },
          encoding: { x: encoding.x, y: encoding.y },
        },
      ],
    },
  });
}

/** Points of two kinds: many small ones, and few with a `name`, written beside them at the height `labelAt`. */
export async function scatter(small: readonly Datum[], large: readonly Datum[], axes: Axes): Promise<string> {
  const { x, y, xTitle, yTitle } = axes;
  const encoding = {
    x: {
      field: x,
      type: "quantitative" as const,
      title: xTitle,
      axis: { tickMinStep: 1, grid: false },
      scale: { zero: false, padding: 14 },
    },
    y: { field: y, type: "quantitative" as const, title: yTitle, scale: { zero: false } },
  };
  return draw({
    width: 820,
    height: 380,
    layer: [
      {
        data: { values: [...small] },
        mark: { type: "point", size: 22, color: colour("soft"), opacity: 0.45 },
        encoding,
      },
      { data: { values: [...large] }, mark: { type: "point", size: 80, color: colour("series-1") }, encoding },
      {
        data: { values: [...large] },
        mark: { type: "text", align: "left", dx: 8, fontSize: 11, color: colour("ink") },
        encoding: { ...encoding, y: { ...encoding.y, field: "labelAt" }, text: { field: "name", type: "nominal" } },
      },
    ],
  });
}

/** Bars side by side for each category, one for each series, and a line at 1. */
export async function groupedBars(
  data: readonly Datum[],
  axes: Omit<Axes, "xTitle"> & { readonly series: string },
): Promise<string> {
  const { x, y, yTitle, series } = axes;
  const names = [...new Set(data.map((datum) => datum[series]!))] as string[];
  return draw({
    data: { values: [...data] },
    width: { step: 18 },
    height: 240,
    layer: [
      {
        mark: { type: "bar", cornerRadiusEnd: 2 },
        encoding: {
          x: {
            field: x,
            type: "nominal",
            sort: null,
            title: null,
            axis: { labelAngle: -35, labelLimit: 200, labelFontSize: 11 },
          },
          xOffset: { field: series, type: "nominal", sort: names },
          y: { field: y, type: "quantitative", title: yTitle },
          color: { field: series, type: "nominal", sort: names, scale: { domain: names, range: SERIES } },
        },
      },
      { mark: { type: "rule", color: colour("ink"), strokeDash: [4, 3] }, encoding: { y: { datum: 1 } } },
    ],
  });
}
