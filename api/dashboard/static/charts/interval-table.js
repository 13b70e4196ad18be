// A table with an interval in each row, all on one scale, between a name and columns of numbers.
import { html } from "../ui.js";
import { Interval, IntervalAxis } from "./interval.js";

/** @typedef {import("./interval.js").IntervalScale} IntervalScale */
/**
 * @typedef {{key: string, name: unknown, value: number | null, low: number | null, high: number | null, words: string,
 *   hue?: string, tick?: number | null, cells: unknown[]}} IntervalRow
 */

/**
 * `columns` are the heads of the name, of the interval and of the numbers behind it.
 * @param {{label: string, columns: string[], rows: IntervalRow[], scale: IntervalScale}} props
 */
export const IntervalTable = ({ label, columns, rows, scale }) => html`
  <div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table class="data payoff">
      <thead>
        <tr>
          ${columns.map((title, n) => html`<th key=${title} scope="col" class=${n > 1 ? "number" : ""}>${title}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`
            <tr key=${row.key}>
              <td>${row.name}</td>
              <td>
                <${Interval}
                  scale=${scale}
                  value=${row.value}
                  low=${row.low}
                  high=${row.high}
                  hue=${row.hue}
                  tick=${row.tick ?? null}
                  label=${row.words}
                />
              </td>
              ${row.cells.map((cell, n) => html`<td key=${n} class="number">${cell}</td>`)}
            </tr>
          `,
        )}
      </tbody>
      <${IntervalAxis} scale=${scale} />
    </table>
  </div>
`;
