// What a study has shown: its comparisons, arms, curves and runs, and what there is to doubt. The HTML report of a
// study is made of the same parts.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { count, duration } from "../../parts/format.js";
import { Facts, Status } from "../../parts/labels.js";
import { Empty } from "../../parts/states.js";
import { Link, runPath } from "../../router.js";
import { Arms } from "./arms.js";
import { Doubts } from "./doubts.js";
import { Comparisons, Exploratory } from "./forest.js";
import { armHue, outcome } from "./values.js";

/** @typedef {import("../../data/schema.d.ts").StudyReport} StudyReport */

/** @param {{report: StudyReport}} props */
export function StudyBody({ report }) {
  const finished = report.arms.some((arm) => arm.outcome !== null);
  return html`
    <div class="stack">
      <${Summary} report=${report} />
      ${
        finished
          ? html`
            <${Doubts} report=${report} />
            <${Comparisons} report=${report} />
            <${Arms} report=${report} />
            <${Curves} report=${report} />
            <${Exploratory} report=${report} />
          `
          : html`
            <div class="card">
              <${Empty} title="No run is finished yet">
                Comparisons appear when both arms have finished a run on the same seed and given model.
              <//>
            </div>
          `
      }
      <${Runs} report=${report} />
    </div>
  `;
}

/** @param {{report: StudyReport}} props */
function Summary({ report }) {
  const { outcome: named, counts, planned } = report;
  const others = Object.entries(counts).filter(([status]) => status !== "finished");
  const facts = /** @type {[string, unknown][]} */ ([
    ["Outcome", html`<code>${named.figure}</code>`],
    ["Better", named.better],
    ...(named.equivalent_within === null ? [] : [["Equivalent within", `±${named.equivalent_within}`]]),
    ["Arms", count(report.arms.length)],
    ["Seeds", count(report.seeds.length)],
    ["Given models", count(report.models.length)],
    [
      "Finished runs",
      html`
        ${count(counts.finished ?? 0)} of ${count(planned)}
        ${
          others.length > 0 &&
          html`
            ${" "}<span class="soft small">
              (${others.map(([status, number]) => `${number} ${status.replaceAll("_", " ")}`).join(", ")})
            </span>
          `
        }
      `,
    ],
  ]);
  return html`
    <section class="card">
      ${report.question && html`<p class="lead">${report.question}</p>`}
      <${Facts} facts=${facts} />
    </section>
  `;
}

/** @param {{report: StudyReport}} props */
function Curves({ report }) {
  const arms = report.arms.map((arm, place) => ({ arm, hue: armHue(place) })).filter(({ arm }) => arm.curve.length > 1);
  if (!arms.length) return null;
  return html`
    <${Figure}
      title="Outcome over iterations"
      name=${`${report.name}-curves`}
      caption="Means over the finished runs that evaluated the policy, with 95% intervals over seeds and held-out
        prompts. 0 is the given model; 1 is the policy after the first iteration."
      numbers=${() => ({
        columns: ["arm", "iteration", "outcome", "low (95%)", "high (95%)", "runs"],
        rows: arms.flatMap(({ arm }) =>
          arm.curve.map((point) => [
            arm.name,
            point.iteration,
            point.outcome.value,
            point.outcome.low,
            point.outcome.high,
            point.outcome.runs,
          ]),
        ),
      })}
    >
      <${Plot}
        label="Outcome by iteration and arm"
        xLabel="iterations"
        yLabel=${report.outcome.figure}
        height=${300}
        format=${outcome}
        series=${arms.map(({ arm, hue }) => ({
          name: arm.name,
          hue,
          band: true,
          points: arm.curve.map(({ iteration, outcome: { value, low, high } }) => ({
            x: iteration,
            y: value,
            lo: low,
            hi: high,
          })),
        }))}
      />
    <//>
  `;
}

/** @param {{report: StudyReport}} props */
const Runs = ({ report: { runs } }) =>
  runs.length > 0 &&
  html`
    <section class="card flush" aria-label="Runs">
      <header><h2>Runs</h2><p>Failed runs are listed too; comparisons leave out their pairs.</p></header>
      <div class="scroll" tabindex="0" role="region" aria-label="Runs of the study">
        <table class="data">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Arm</th>
              <th scope="col" class="number">Seed</th>
              <th scope="col">Given model</th>
              <th scope="col">Status</th>
              <th scope="col" class="number">Policy</th>
              <th scope="col" class="number">Outcome</th>
              <th scope="col" class="number">Responses</th>
              <th scope="col" class="number">Time</th>
            </tr>
          </thead>
          <tbody>
            ${runs.map(
              (run) => html`
                <tr key=${run.name}>
                  <td><${Link} to=${runPath(run.name)}>${run.name}<//></td>
                  <td>${run.arm}</td>
                  <td class="number">${run.seed}</td>
                  <td>${run.model}</td>
                  <td>
                    <${Status} status=${run.status} />
                    ${run.error && html`<div class="small soft note" title=${run.error}>${run.error}</div>`}
                  </td>
                  <td class="number">${run.checkpoint ?? "–"}</td>
                  <td class="number">${outcome(run.value)}</td>
                  <td class="number">${count(run.costs?.responses)}</td>
                  <td class="number">${duration(run.costs?.seconds)}</td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
    </section>
  `;
