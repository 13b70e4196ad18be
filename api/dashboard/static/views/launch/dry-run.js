// The result of a dry run: what is wrong, what differs, what the run would cost, and what was checked.
import { html } from "../../ui.js";
import { TextWithCode } from "../../parts/labels.js";
import { bytes, count, figure, span } from "../../parts/format.js";
import { Empty } from "../../parts/states.js";
import { go, query, withQuery } from "../../router.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./draft.js").CheckedConfig} CheckedConfig */

/** @param {unknown} value */
const text = (value) =>
  value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);

/** @param {{draft: Draft, shown: (key: string) => boolean, find: (key: string) => void}} props */
export function DryRun({ draft, shown, find }) {
  const [refused, outcome] = [draft.refused.value, draft.checked.value];
  const errors = refused?.problem.errors ?? [];
  return html`
    <section
      class=${`card${draft.busy.value ? " old" : ""}`}
      aria-label="Before it starts"
      aria-busy=${draft.busy.value}
    >
      <header>
        <h2>Before it starts</h2>
        <span class="aside" role="status">
          ${draft.busy.value ? "checking" : refused ? "has problems" : outcome ? "checked" : ""}
        </span>
      </header>
      ${
        errors.length > 0
          ? html`
            <ul class="problems">
              ${errors.map((problem) => {
                const key = problem.where.replace(/^(config|body)\.?/, "");
                return html`
                  <li key=${problem.where}>
                    <button type="button" class="link" onClick=${() => find(key)}>
                      <code>${key || "config"}</code>
                    </button>
                    ${shown(key) ? "" : html` <span class="soft">(in the YAML)</span>`}: <span class="mistake">
                      ${problem.expected}
                    </span>
                  </li>
                `;
              })}
            </ul>
          `
          : refused
            ? html`<${Refusal} problem=${refused.problem} />`
            : outcome
              ? html`<${Outcome} outcome=${outcome} />`
              : !draft.busy.value &&
                html`<${Empty} title="Nothing to check yet">Paste a config as YAML, or open a file.<//>`
      }
    </section>
  `;
}

/** @param {{problem: import("../../data/schema.d.ts").Problem}} props */
const Refusal = ({ problem: { given, expected, next_move: move } }) => html`
  <div class="found">
    <p class="mistake">${given}</p>
    ${expected && html`<p>Expected: ${expected}</p>`}
    ${move && html`<p class="soft"><${TextWithCode} text=${move} /></p>`}
  </div>
`;

/** @param {import("../../data/schema.d.ts").PlannedStage} stage */
const taken = ({ name, seconds, hidden }) =>
  `${name} ${span(seconds)}${hidden > 0 ? ` (and ${span(hidden)} during the training)` : ""}`;

/**
 * How long the run would take and what it would cost, with the arithmetic on demand.
 * @param {{plan: import("../../data/schema.d.ts").RunPlan}} props
 */
function Plan({ plan }) {
  const price = Number(query.value.get("gpu_usd"));
  const change = (/** @type {any} */ event) => {
    const text = event.currentTarget.value.trim();
    go(withQuery({ gpu_usd: Number(text) > 0 ? text : null }), { replace: true });
  };
  return html`
    <h3>How long, and for how much</h3>
    <p class="plan">
      About <strong>${span(plan.total_s)}</strong> in all, ${span(plan.iteration_s)} an iteration, on ${plan.machines},
      by arithmetic.
    </p>
    <p class="small soft">
      An iteration: ${plan.stages.map(taken).join(", ")}. Checkpoints take ${bytes(plan.disk)} of disk.
    </p>
    ${
      plan.gpu_hours > 0 &&
      html`
        <div class="entry">
          <label for="gpu-usd">Dollars per GPU-hour</label>
          <input
            id="gpu-usd"
            inputmode="decimal"
            value=${price > 0 ? price : ""}
            autocomplete="off"
            onChange=${change}
          />
          <span class="hint">
            ${figure(plan.gpu_hours)} GPU-hours${price > 0 ? `: about $${count(plan.gpu_hours * price)}` : ""}
          </span>
        </div>
      `
    }
    <details>
      <summary>Arithmetic</summary>
      <ul class="checks small">${plan.arithmetic.map((line) => html`<li key=${line}>${line}</li>`)}</ul>
    </details>
  `;
}

/** @param {{outcome: CheckedConfig}} props */
function Outcome({ outcome }) {
  const lines = (outcome.estimate ?? []).map((line) => line.split(": "));
  return html`
    <div class="found">
      ${
        outcome.changes &&
        html`
          <h3>What differs</h3>
          ${
            outcome.changes.length === 0
              ? html`<p class="soft">Nothing: it would continue the same way.</p>`
              : html`
                <dl class="estimate">
                  ${outcome.changes.map(
                    (change) => html`
                      <div key=${change.key}>
                        <dt><code>${change.key}</code></dt>
                        <dd><del>${text(change.before)}</del> <ins>${text(change.after)}</ins></dd>
                      </div>
                    `,
                  )}
                </dl>
              `
          }
        `
      }
      ${outcome.plan && html`<${Plan} plan=${outcome.plan} />`}
      ${
        outcome.estimate &&
        html`
          <h3>Work and cost, at most</h3>
          ${lines.filter((line) => line.length === 1).map(([line]) => html`<p key=${line}>${line}</p>`)}
          <dl class="estimate">
            ${lines
              .filter((line) => line.length > 1)
              .map(([name, ...rest]) => html`<div key=${name}><dt>${name}</dt><dd>${rest.join(": ")}</dd></div>`)}
          </dl>
        `
      }
      <h3>Checked</h3>
      <ul class="checks small">${outcome.checks.map((line) => html`<li key=${line}>${line}</li>`)}</ul>
    </div>
  `;
}
