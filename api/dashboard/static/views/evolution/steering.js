// How the creator was steered: the level of each iteration, what it changed, and the bounds that were crossed.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { figure } from "../../parts/format.js";

/** @typedef {{iteration: number, name: string, data: any}} Row */

/** Draws a table, where the run is steered. @param {{run: string, rows: Row[]}} props */
export function Steering({ run, rows }) {
  if (!rows.length) return null;
  const told = (/** @type {any} */ bound) => `${bound.figure} ${figure(bound.value)}, bound ${figure(bound.bound)}`;
  const why = (/** @type {Row} */ row) => row.data.why.map(told);
  const percent = (/** @type {number} */ share) => `+${Math.round(100 * share)} %`;
  return html`
    <${Figure}
      title="Steering"
      name=${`${run}-steering`}
      caption="A batch that crosses a bound of collapse.steer raises the level of the next iteration, another lowers it.
        A level gives the buffer more of the batch, samples prompts more evenly, and asks for more breadth."
      numbers=${() => ({
        columns: ["iteration", "level", "buffer added (share)", "weights flattened by", "breadth added (share)", "why"],
        rows: rows.map(({ iteration, data }) => [
          iteration,
          data.level,
          data.buffer,
          data.temperature,
          data.breadth,
          data.why.map((/** @type {any} */ bound) => bound.figure).join(" "),
        ]),
      })}
    >
      <div class="scroll" tabindex="0" role="region" aria-label="Steering by iteration">
        <table class="data">
          <thead>
            <tr>
              <th scope="col" class="number">Iteration</th>
              <th scope="col" class="number">Level</th>
              <th scope="col" class="number">Buffer</th>
              <th scope="col" class="number">Weights flattened by</th>
              <th scope="col" class="number">Breadth</th>
              <th scope="col">Because the batch before had</th>
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              (row) => html`
                <tr key=${row.iteration}>
                  <td class="number">${row.iteration}</td>
                  <td class="number">${row.data.level}</td>
                  <td class="number">${percent(row.data.buffer)}</td>
                  <td class="number">${figure(row.data.temperature)}</td>
                  <td class="number">${percent(row.data.breadth)}</td>
                  <td>${why(row).join("; ") || html`<span class="soft">no bound crossed</span>`}</td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
    <//>
  `;
}
