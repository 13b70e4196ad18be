// A chart in its card, with a caption, its numbers as a table, and downloads as CSV, SVG and PNG. Every chart uses it.
import { html, useRef, useState } from "../ui.js";
import { count, inColumn } from "../parts/format.js";
import { path, query } from "../router.js";
import { pictureOf, vectorOf } from "./picture.js";

/**
 * The table behind a chart. Column names include the unit where there is one.
 * @typedef {{columns: string[], rows: (string | number | null | undefined)[][]}} Numbers
 */

const MOST_ROWS = 500;

/**
 * `pixels`: it is drawn on a canvas, so there is no SVG of it.
 * @param {{title: string, caption?: unknown, name: string, numbers: () => Numbers, aside?: unknown, pixels?: boolean,
 *   children?: unknown}} props
 */
export function Figure({ title, caption, name, numbers, aside, pixels = false, children }) {
  const body = useRef(/** @type {HTMLElement | null} */ (null));
  const [open, setOpen] = useState(false);
  const picture = async () => {
    const blob = body.current && (await pictureOf(body.current, title, shownRuns()));
    if (blob) save(`${name}.png`, blob);
  };
  const vector = () => body.current && save(`${name}.svg`, vectorOf(body.current, title, shownRuns()));
  return html`
    <section class="card figure" aria-label=${title}>
      <header>
        <h2>${title}</h2>
        ${aside}
        <span class="aside chart-more">
          <button class="button bare" aria-expanded=${open} onClick=${() => setOpen(!open)}>
            ${open ? "Hide numbers" : "Numbers"}
          </button>
          <button
            class="button bare"
            aria-label=${`${title} as CSV`}
            onClick=${() => save(`${name}.csv`, new Blob([csvOf(numbers())], { type: "text/csv" }))}
          >
            CSV
          </button>
          ${!pixels && html`<button class="button bare" aria-label=${`${title} as SVG`} onClick=${vector}>SVG</button>`}
          <button class="button bare" aria-label=${`${title} as PNG`} onClick=${picture}>PNG</button>
        </span>
        ${caption && html`<p>${caption}</p>`}
      </header>
      <div class="figure-body" ref=${body}>${children}</div>
      ${open && html`<${Table} ...${numbers()} />`}
    </section>
  `;
}

/** The names of the runs, or of the study, that the page is about. */
function shownRuns() {
  const [noun, name = ""] = path.value;
  return noun === "compare" ? query.value.getAll("run").join(", ") : name;
}

/** @param {Numbers} props */
function Table({ columns, rows }) {
  // the figures of a column have the same precision
  const formats = columns.map((_, k) => {
    const values = rows.flatMap((row) => (typeof row[k] === "number" ? [row[k]] : []));
    return values.every(Number.isInteger) ? count : inColumn(values);
  });
  return html`
  <div class="scroll" tabindex="0" role="region" aria-label="Numbers">
    <table class="data">
      <thead>
        <tr>
          ${columns.map((column, n) => html`<th key=${column} scope="col" class=${n ? "number" : ""}>${column}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.slice(0, MOST_ROWS).map(
          (row, n) => html`
            <tr key=${n}>
              ${row.map(
                (value, k) => html`
                  <td key=${k} class=${k ? "number" : ""}>
                    ${typeof value === "number" && k ? formats[k](value) : (value ?? "–")}
                  </td>
                `,
              )}
            </tr>
          `,
        )}
      </tbody>
    </table>
  </div>
  ${
    rows.length > MOST_ROWS &&
    html`
      <p class="soft small">
        These are the first ${count(MOST_ROWS)} of ${count(rows.length)} rows. The CSV has all of them.
      </p>
    `
  }
`;
}

/**
 * CSV by RFC 4180. A text that a spreadsheet would read as a formula gets an apostrophe in front.
 * @param {Numbers} numbers
 */
export function csvOf({ columns, rows }) {
  const cell = (/** @type {string | number | null | undefined} */ value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "string" && /^\s*[=+\-@\t\r\n＝＋－＠]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** @param {string} name @param {Blob} blob */
export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
