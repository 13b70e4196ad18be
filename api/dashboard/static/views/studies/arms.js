// The arms of a study: what each changes, its outcome with a dot for each run, and what it cost.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Interval, IntervalAxis, intervalScale } from "../../charts/interval.js";
import { count, duration } from "../../parts/format.js";
import { go, runPath } from "../../router.js";
import { armHue, outcome } from "./values.js";

/** @typedef {import("../../data/schema.d.ts").StudyReport} StudyReport */
/** @typedef {import("../../data/schema.d.ts").StudyArm} StudyArm */
/** @typedef {import("../../data/schema.d.ts").StudyRun} StudyRun */
/** @typedef {import("../../charts/interval.js").IntervalScale} IntervalScale */

/** @param {{report: StudyReport}} props */
export function Arms({ report }) {
  const { arms, runs } = report;
  const reached = arms.flatMap((arm) => [arm.outcome?.low, arm.outcome?.high]);
  const scale = intervalScale([...reached, ...runs.map((run) => run.value)], { width: 260 });
  const paid = arms.some((arm) => arm.costs?.dollars);
  return html`
    <${Figure}
      title="Outcome by arm"
      name=${`${report.name}-arms`}
      caption="Means with 95% intervals, which include how the held-out prompts were chosen: two arms can differ clearly
        in pairs though their intervals overlap here. Each dot is a run, and opens it. Costs are means per run, without
        evaluation."
      numbers=${() => ({
        columns: [
          "arm",
          "outcome",
          "low (95%)",
          "high (95%)",
          "standard deviation",
          "runs",
          "responses",
          "tokens",
          "pairs",
          "steps",
          "seconds",
          "US dollars",
        ],
        rows: arms.map((arm) => [
          arm.name,
          arm.outcome?.value,
          arm.outcome?.low,
          arm.outcome?.high,
          arm.outcome?.deviation,
          arm.outcome?.runs,
          arm.costs?.responses,
          arm.costs?.tokens,
          arm.costs?.pairs,
          arm.costs?.steps,
          arm.costs?.seconds,
          arm.costs?.dollars,
        ]),
      })}
    >
      <div class="scroll" tabindex="0" role="region" aria-label="Arms">
        <table class="data payoff">
          <thead>
            <tr>
              <th scope="col">Arm</th>
              <th scope="col">Outcome</th>
              <th scope="col" class="number">Mean (95%)</th>
              <th scope="col" class="number">sd</th>
              <th scope="col" class="number">Runs</th>
              <th scope="col" class="number">Responses</th>
              <th scope="col" class="number">Tokens</th>
              <th scope="col" class="number">Pairs</th>
              <th scope="col" class="number">Steps</th>
              <th scope="col" class="number">Time</th>
              ${paid && html`<th scope="col" class="number">Cost</th>`}
            </tr>
          </thead>
          <tbody>
            ${arms.map(
              (arm, place) => html`
                <${Row}
                  key=${arm.name}
                  arm=${arm}
                  runs=${runs.filter((run) => run.arm === arm.name)}
                  hue=${armHue(place)}
                  scale=${scale}
                  paid=${paid}
                />
              `,
            )}
          </tbody>
          <${IntervalAxis} scale=${scale} />
        </table>
      </div>
    <//>
  `;
}

/** @param {{arm: StudyArm, runs: StudyRun[], hue: string, scale: IntervalScale, paid: boolean}} props */
function Row({ arm, runs, hue, scale, paid }) {
  const { outcome: found, costs } = arm;
  const changes = Object.entries(arm.changes).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  return html`
    <tr>
      <td>
        <strong>${arm.name}</strong>
        <div class="small soft">${changes.length ? changes.join(", ") : "as the base"}</div>
      </td>
      <td>
        <${Interval}
          scale=${scale}
          value=${found?.value}
          low=${found?.low}
          high=${found?.high}
          hue=${hue}
          label=${found ? `${arm.name}: ${outcome(found.value)}` : `${arm.name}: no finished run`}
          dots=${runs.flatMap((run) =>
            run.value === null
              ? []
              : [
                  {
                    name: run.name,
                    value: run.value,
                    title: `${run.name}: ${outcome(run.value)}`,
                    open: () => go(runPath(run.name)),
                  },
                ],
          )}
        />
      </td>
      <td class="number">
        ${outcome(found?.value)}
        <div class="small soft nowrap">
          ${found && found.low !== null && `${outcome(found.low)} – ${outcome(found.high)}`}
        </div>
      </td>
      <td class="number">${outcome(found?.deviation)}</td>
      <td class="number">${count(found?.runs ?? 0)}</td>
      <td class="number">${count(costs?.responses)}</td>
      <td class="number">${count(costs?.tokens)}</td>
      <td class="number">${count(costs?.pairs)}</td>
      <td class="number">${count(costs?.steps)}</td>
      <td class="number">${duration(costs?.seconds)}</td>
      ${paid && html`<td class="number">$${(costs?.dollars ?? 0).toFixed(2)}</td>`}
    </tr>
  `;
}
