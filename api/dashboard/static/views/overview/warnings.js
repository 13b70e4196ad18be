// Warnings about a run: what deserves a look, and what it means.
import { html } from "../../ui.js";
import { count, figure, percent } from "../../parts/format.js";
import { TextWithCode } from "../../parts/labels.js";
import { Link, runPath } from "../../router.js";

const FIGURES = /** @type {Record<string, string>} */ ({
  effective_roots: "seed families in the batch",
  vendi: "effectively different texts",
  near_duplicates: "share of near duplicates",
  length_entropy: "spread of lengths",
});
const LONGER_WINS = 0.8;
const REWARDED = 0.98;
const FAMILIES_LEFT = 0.1;

/**
 * @typedef {{level: "bad" | "warn", title: string, means: string, look?: [string, string]}} Warning `look`: the words
 *   and the address of a link to what the warning is about
 */

/**
 * @param {{run: any, statistics: {iteration: number, name: string, data: any}[], events: any[], iterations: any}}
 *   props
 */
export function Warnings(props) {
  const warnings = [
    ...runWarnings(props),
    ...starvedWarnings(props),
    ...collapseWarnings(props),
    ...driftWarnings(props),
    ...rewardWarnings(props),
    ...missingRewardWarnings(props),
  ];
  if (!warnings.length) return null;
  return html`
    <section class="notices" aria-label="Warnings">
      ${warnings.map(
        (warning) => html`
          <div
            key=${warning.title}
            class=${`notice ${warning.level}`}
            role=${warning.level === "bad" ? "alert" : "note"}
          >
            <h3>${warning.title}</h3>
            <p class="soft"><${TextWithCode} text=${warning.means} /></p>
            ${warning.look && html`<p><${Link} class="button" to=${warning.look[1]}>${warning.look[0]}<//></p>`}
          </div>
        `,
      )}
    </section>
  `;
}

/** @param {{run: any, iterations: any}} props @returns {Warning[]} */
function runWarnings({ run, iterations }) {
  const warnings = /** @type {Warning[]} */ ([]);
  if (run.status === "failed")
    warnings.push({
      level: "bad",
      title: `The run failed: ${run.error ?? "no reason was recorded"}`,
      means:
        `No finished work is lost. Fix the cause, then press Resume or run \`eva run --resume ${run.name}\`: ` +
        `it continues with the first missing prompt.`,
    });
  if (run.status === "interrupted")
    warnings.push({
      level: "warn",
      title: "No driver is playing this run",
      means:
        `Its driver disappeared. Press Resume or run \`eva run --resume ${run.name}\`: it continues with the first ` +
        `missing prompt, and no finished response is generated twice.`,
    });
  for (const stage of iterations?.items.flatMap((/** @type {any} */ iteration) => iteration.stages) ?? []) {
    if (stage.status === "failed" && run.status !== "failed")
      warnings.push({
        level: "warn",
        title: `Iteration ${stage.iteration}: ${stage.name} failed (attempt ${stage.attempts})`,
        means: stage.error ?? "",
      });
  }
  return warnings;
}

/** @param {{events: any[]}} props @returns {Warning[]} */
function starvedWarnings({ events }) {
  return events
    .filter((event) => event.kind === "starved")
    .slice(-3)
    .map((event) => ({
      level: /** @type {const} */ ("warn"),
      title: `Iteration ${event.iteration}: all ${count(event.data.refused)} children were refused`,
      means:
        `Most often as ${event.data.reason} (${count(event.data.count)})` +
        `${event.data.example ? `, such as “${event.data.example}”` : ""}. ${event.data.advice}.`,
    }));
}

/** @param {{statistics: any[], events: any[]}} props @returns {Warning[]} */
function collapseWarnings({ statistics, events }) {
  const warnings = events
    .filter((event) => event.kind === "collapse")
    .slice(-3)
    .map((event) => ({
      level: /** @type {const} */ ("warn"),
      title:
        `Iteration ${event.iteration}: ${FIGURES[event.data.figure] ?? event.data.figure} ` +
        `is ${figure(event.data.value)} (limit ${figure(event.data.bound)})`,
      means:
        "The batch is losing diversity: the creator uses fewer families or wordings. Raise the sampling temperature, " +
        "the buffer or the novelty, or add seed prompts.",
    }));
  const roots = statistics
    .filter((row) => row.name === "diversity")
    .map((row) => row.data.effective_roots)
    .filter((value) => typeof value === "number");
  const [first, last] = [roots[0], roots[roots.length - 1]];
  if (!warnings.length && roots.length > 2 && last < FAMILIES_LEFT * first)
    warnings.push({
      level: "warn",
      title: `The batch effectively comes from only ${figure(last)} of ${figure(first)} seed families`,
      means:
        "Most prompts descend from very few seeds, so what the solver learns may not carry over to the rest. " +
        "Check the held-out evaluation and Lineage.",
    });
  return warnings;
}

/** @param {{events: any[]}} props @returns {Warning[]} */
function driftWarnings({ events }) {
  return events
    .filter((event) => event.kind === "drift")
    .slice(-1)
    .map(({ iteration, data }) => ({
      level: "warn",
      title:
        `Iteration ${iteration}, step ${data.step}: ${data.figure} is ${figure(data.value)} ` +
        `(limit ${figure(data.bound)})`,
      means:
        `The training was stopped there and starts again when the run is resumed. Lower \`training.learning_rate\` ` +
        `or \`training.epochs\`, or raise \`training.${data.figure === "gap" ? "stop_gap" : "stop_kl"}\`.`,
    }));
}

/** The table of an iteration's prompts in an order. @param {any} run @param {number} iteration @param {string} sort */
const promptsBy = (run, iteration, sort) => `${runPath(run.name, "prompts")}?iteration=${iteration}&sort=${sort}`;

/** @param {{run: any, statistics: any[]}} props @returns {Warning[]} */
function rewardWarnings({ run, statistics }) {
  const warnings = /** @type {Warning[]} */ ([]);
  const audit = statistics.filter((row) => row.name === "audit").pop();
  const wins = audit?.data.verbosity?.longer_wins;
  if (typeof wins === "number" && wins > LONGER_WINS)
    warnings.push({
      level: "warn",
      title: `The longer response wins ${percent(wins)} of the time (iteration ${audit.iteration})`,
      means:
        "The reward may favour length itself. For tasks where longer really is better, such as those with several " +
        "steps, this is fine: compare best and worst responses before you trust it.",
      look: ["Prompts whose reward grows most with length", promptsBy(run, audit.iteration, "-correlation")],
    });
  const batch = statistics.filter((row) => row.name === "batch").pop();
  if (batch && batch.data.responses > 0 && batch.data.cut_responses / batch.data.responses > 0.1)
    warnings.push({
      level: "warn",
      title: `${percent(batch.data.cut_responses / batch.data.responses)} of the responses were cut at the token limit`,
      means:
        "Their rewards judge unfinished responses. Raise `generation.max_tokens`, or set `generation.keep_cut` " +
        "to leave them out.",
      look: ["Prompts with the longest responses", promptsBy(run, batch.iteration, "-length")],
    });
  return warnings;
}

/** @param {{run: any, statistics: any[]}} props @returns {Warning[]} */
function missingRewardWarnings({ run, statistics }) {
  const batch = statistics.filter((row) => row.name === "batch").pop();
  if (!batch || !batch.data.prompts || batch.data.rewarded_prompts / batch.data.prompts >= REWARDED) return [];
  const unrewarded = batch.data.prompts - batch.data.rewarded_prompts;
  return [
    {
      level: "warn",
      title: `${count(unrewarded)} prompts of iteration ${batch.iteration} have no reward`,
      means:
        "Generating or rewarding their responses failed, so they were quarantined. The run continues without " +
        "them, and each prompt's page gives the reason.",
      look: ["The prompts, those without a reward last", promptsBy(run, batch.iteration, "-reward")],
    },
  ];
}
