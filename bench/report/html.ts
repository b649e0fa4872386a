/** HTML that is safe to put into a page: made by `html` or from such pieces. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | readonly Html[];

/** Strings and numbers are escaped; pieces made by `html` are not. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.map((text, i) => text + (i < parts.length ? render(parts[i]!) : "")).join(""));
}

/** For text that is HTML already, as an SVG drawing. */
export function trusted(text: string): Html {
  return new Html(text);
}

function render(part: Part): string {
  if (part instanceof Html) return part.text;
  if (typeof part === "string" || typeof part === "number") return escapeHtml(String(part));
  return part.map((piece) => piece.text).join("");
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character]!);
}

export const NOTHING = new Html("");

/** The first cell of a row is its heading; the first row names the columns. */
export interface Table {
  readonly caption: string;
  readonly columns: readonly Part[];
  readonly rows: readonly TableRow[];
}

export interface TableRow {
  readonly head: Part;
  readonly cells: readonly (Html | string)[];
  /** Set apart, as a total is. */
  readonly total?: boolean;
}

/** Headings wrap at spaces only: "16-best 4-gram" is two words. */
function unbroken(name: Part): Part {
  return typeof name === "string" ? name.replaceAll("-", "\u2011") : name;
}

export function table({ caption, columns, rows }: Table): Html {
  const [corner = "", ...names] = columns;
  const body = rows.map(
    ({ head, cells, total }) =>
      html`<tr${total === true ? trusted(' class="total"') : NOTHING}><th scope="row">${head}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>\n`,
  );
  // Wide tables scroll in their own box, which the keyboard must reach too.
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table><caption>${caption}</caption>
<thead><tr><th scope="col">${corner}</th>${names.map((name) => html`<th scope="col">${unbroken(name)}</th>`)}</tr></thead>
<tbody>
${body}</tbody></table></div>`;
}
