// The curves of several runs on one axis. A pointer in one chart marks the same place in the others.
import { html, signal } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { duration, percent } from "../../parts/format.js";

/** @typedef {import("../../data/schema.d.ts").ComparedRun} ComparedRun */
/** @typedef {"iteration" | "seconds" | "gpu_seconds" | "tokens"} Axis */

export const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c8"];
const byAxis = signal(/** @type {number | null} */ (null));
const byPolicy = signal(/** @type {number | null} */ (null));

/** Where the runs that are forks part from the first one. @param {ComparedRun[]} runs */
const forkRules = (runs) =>
  [...new Set(runs.map((run) => run.shared))].filter((at) => at > 0).map((at) => ({ x: at, label: "fork" }));

/**
 * @param {{runs: ComparedRun[], axis: Axis, xLabel: string, of: "reward_mean" | "info_mean" | "effective_roots",
 *   title: string, y: string, caption: string}} props
 */
export function Curve({ runs, axis, xLabel, of, title, y, caption }) {
  return html`
    <${Figure}
      title=${title}
      caption=${caption}
      name=${`compare-${of}`}
      numbers=${() => ({
        columns: ["run", "iteration", ...(axis === "iteration" ? [] : [xLabel]), title],
        rows: runs.flatMap((run) =>
          run.curve.map((point) => [
            run.name,
            String(point.iteration),
            ...(axis === "iteration" ? [] : [point[axis]]),
            point[of],
          ]),
        ),
      })}
    >
      <${Plot}
        label=${`${title} by ${xLabel}`}
        xLabel=${xLabel}
        yLabel=${y}
        zero=${of !== "reward_mean"}
        shared=${byAxis}
        rules=${axis === "iteration" ? forkRules(runs) : []}
        whole=${axis !== "seconds"}
        xName=${axis === "seconds" ? duration : undefined}
        series=${runs.map((run, n) => ({
          name: run.name,
          hue: HUES[n],
          points: run.curve
            .filter((point) => point[axis] !== null)
            .map((point) => ({ x: Number(point[axis]), y: point[of] })),
        }))}
      />
    <//>
  `;
}

/** @param {{runs: ComparedRun[], split: string, axis: Axis}} props */
export function HeldoutCurve({ runs, split, axis }) {
  const byTime = axis === "seconds";
  const greedyPoints = (/** @type {ComparedRun} */ run) =>
    run.heldout.filter((point) => point.split === split && point.mode === "greedy");
  return html`
    <${Figure}
      title=${`Held-out: ${split}`}
      name=${`compare-heldout-${split}`}
      caption=${
        byTime || axis === "iteration"
          ? "Share of correct responses, sampled greedily."
          : "Share of correct responses by policy, sampled greedily."
      }
      numbers=${() => ({
        columns: ["run", "policy", "accuracy (share)", "mean reward", "responses"],
        rows: runs.flatMap((run) =>
          greedyPoints(run).map((point) => [
            run.name,
            String(point.checkpoint),
            point.accuracy,
            point.reward_mean,
            point.responses,
          ]),
        ),
      })}
    >
      <${Plot}
        label=${`Held-out accuracy on ${split}`}
        xLabel=${byTime ? "seconds of work" : "policy"}
        yLabel="correct"
        yDomain=${[0, 1]}
        shared=${byTime ? byAxis : byPolicy}
        rules=${byTime ? [] : forkRules(runs)}
        whole=${!byTime}
        xName=${byTime ? duration : undefined}
        format=${(/** @type {number} */ v) => percent(v)}
        axisFormat=${(/** @type {number} */ v) => percent(v)}
        series=${runs.map((run, n) => ({
          name: run.name,
          hue: HUES[n],
          points: greedyPoints(run).map((point) => ({
            x: byTime ? point.seconds : point.checkpoint,
            y: point.accuracy,
          })),
        }))}
      />
    <//>
  `;
}
