// The report of a run: the dashboard's own charts in one page, over facts that the page contains
// (api/report/facts.py).
import { html, render, useState } from "../ui.js";
import { Figure, save } from "../charts/figure.js";
import { Difference } from "../parts/difference.js";
import { bornIn, count, figure, moment } from "../parts/format.js";
import { Operator } from "../parts/labels.js";
import { Empty } from "../parts/states.js";
import { EvolutionCharts } from "../views/evolution/evolution.js";
import { Family, STEP } from "../views/lineage/family.js";
import { TreeLegend, numbersOf, SelectedPrompt } from "../views/lineage/lineage.js";
import { Tree } from "../views/lineage/tree.js";
import { Curves } from "../views/overview/curves.js";
import { Head } from "../views/overview/head.js";
import { Timeline } from "../views/overview/timeline.js";
import { Warnings } from "../views/overview/warnings.js";
import { rank, BestAndWorst } from "../views/prompts/responses.js";
import { TrainingCharts } from "../views/training/training.js";

/** @typedef {import("../data/schema.d.ts").RunDetails} RunDetails */
/** @typedef {import("../data/schema.d.ts").Iterations} Iterations */
/** @typedef {import("../data/schema.d.ts").Lineage} Lineage */
/**
 * @typedef {{iteration: number, parent: import("../data/schema.d.ts").Relative | null,
 *   prompt: import("../data/schema.d.ts").PromptDetails, responses: import("../data/schema.d.ts").Response[]}} Sample
 */
/** @typedef {{iteration: number, name: string, data: any}} Statistic */
/**
 * @typedef {{taken_at: string, run: RunDetails, iterations: Iterations["items"], statistics: Statistic[],
 *   events: any[], metrics: import("../data/schema.d.ts").Metrics, families: {near: Lineage, top: Lineage}[],
 *   prompts: Sample[], packages: Record<string, string | null>, fingerprint: string | null}} Report
 */

const report = /** @type {Report} */ (JSON.parse(document.getElementById("facts")?.textContent ?? "null"));

/** @param {{title: string, lead: string, children?: unknown}} props */
const Part = ({ title, lead, children }) => html`
  <section class="part">
    <div class="head"><h2 class="part-title">${title}</h2><p class="lead">${lead}</p></div>
    ${children}
  </section>
`;

function Report() {
  const { run, statistics } = report;
  const iterations = { items: report.iterations };
  return html`
    <main id="main">
      <${Head} run=${run} iterations=${iterations} />
      <p class="soft as-of">
        As of ${moment(report.taken_at)}. Policy 0 is the initial model. Every chart can be saved as PNG and CSV.
      </p>
      <div class="stack">
        <${Warnings} run=${run} statistics=${statistics} events=${report.events} iterations=${iterations} />
        <${Curves} rows=${statistics} waiting=${false} run=${run} />
        <${Timeline} items=${report.iterations} name=${run.name} />
      </div>
      <${Part}
        title="Evolution"
        lead="Which prompts the creator samples to evolve, and whether the children teach more than their parents did."
      >
        <${EvolutionCharts} run=${run.name} rows=${statistics} stages=${report.iterations} />
      <//>
      ${
        report.families.length > 0 &&
        html`
          <${Part}
            title="Lineages"
            lead="Families of the most informative prompts of the last iteration: which mutation made which child."
          >
            <div class="stack">
              ${report.families.map((family, n) => html`<${FamilyTree} key=${n} family=${family} />`)}
            </div>
          <//>
        `
      }
      <${Part}
        title="Prompts and responses"
        lead="Two of the most informative prompts and one of the least informative from several iterations, each with
          its best and worst response."
      >
        <div class="stack">
          ${
            report.prompts.length
              ? report.prompts.map(
                  (sample) => html`
                    <${SamplePrompt} key=${`${sample.iteration} ${sample.prompt.number}`} sample=${sample} />
                  `,
                )
              : html`<div class="card"><${Empty} title="No responses yet"><//></div>`
          }
        </div>
      <//>
      ${
        report.metrics.items.length > 0 &&
        html`
          <${Part} title="Training" lead="Each iteration trains once. All trainings share one axis of steps.">
            <${TrainingCharts} run=${run.name} items=${report.metrics.items} />
          <//>
        `
      }
      <${Part}
        title="Config, and how to reproduce the run"
        lead="Everything the run decided follows from its config, its seed, the code, and the models in the config."
      >
        <${Reproduction} />
      <//>
    </main>
  `;
}

/** @param {{family: {near: Lineage, top: Lineage}}} props */
function FamilyTree({ family: { near, top } }) {
  const [family] = useState(() => {
    const tree = new Family();
    tree.add(top);
    tree.openPathTo(near);
    return tree;
  });
  const [, setTurn] = useState(0);
  const [selected, setSelected] = useState(near.prompt.number);
  const shown = family.shown();
  const prompt = family.known.get(selected);
  if (!shown) return null;
  const turn = (/** @type {number} */ number) => {
    family.open.set(number, !family.isOpen(number, family.path.has(number) ? 0 : 1));
    setTurn((n) => n + 1);
  };
  const more = (/** @type {number} */ number) => {
    family.width.set(number, (family.width.get(number) ?? STEP) + 3 * STEP);
    setTurn((n) => n + 1);
  };
  const title = `Family of prompt ${family.root}, to prompt ${near.prompt.number}`;
  return html`
    <div class="family">
      <${Figure}
        title=${title}
        name=${`${report.run.name}-family-${family.root}`}
        numbers=${() => numbersOf(shown)}
        caption="The closest relatives. The dashboard shows the whole family."
      >
        <${Tree}
          shown=${shown}
          focus=${near.prompt.number}
          selected=${selected}
          select=${setSelected}
          turn=${turn}
          more=${more}
          open=${setSelected}
        />
        <${TreeLegend} known=${family.known} />
      <//>
      ${prompt && html`<${SelectedPrompt} run=${report.run.name} prompt=${prompt} family=${family} />`}
    </div>
  `;
}

/** @param {{sample: Sample}} props */
function SamplePrompt({ sample: { iteration, parent, prompt, responses } }) {
  const info = prompt.parts.find((part) => part.iteration === iteration);
  return html`
    <section class="card asked" id=${`sample-${prompt.number}`}>
      <header>
        <h3>Prompt ${count(prompt.number)}, iteration ${iteration}</h3>
        <span class="aside">
          <${Operator} name=${prompt.operator} /> · ${bornIn(prompt.born)} ·
          info ${figure(info?.batch_info ?? info?.pool_info)}
        </span>
        ${parent && html`<p>Compared with its parent #${parent.number}: <ins>added</ins> <del>removed</del></p>`}
      </header>
      ${prompt.context.map(
        (message, n) => html`
          <div class="messages" key=${n}>
            <div class="role">${message.role}</div>
            <pre class="text">${message.content}</pre>
          </div>
        `,
      )}
      ${
        parent
          ? html`<${Difference} before=${parent.text} after=${prompt.text} />`
          : html`<pre class="text">${prompt.text}</pre>`
      }
      <div class="best-and-worst">
        ${
          responses.length > 1
            ? html`<${BestAndWorst} ranked=${rank(responses, responses[0].rewards[0]?.rewarder)} />`
            : html`<p class="soft">Fewer than two of its responses were rewarded.</p>`
        }
      </div>
      <details>
        <summary>Why it was sampled and trained on</summary>
        <ol class="because">${prompt.why.map((sentence, n) => html`<li key=${n}>${sentence}</li>`)}</ol>
      </details>
    </section>
  `;
}

function Reproduction() {
  const { run, packages, fingerprint } = report;
  const text = JSON.stringify(run.config, null, 1);
  const file = `${run.name}.yaml`;
  return html`
    <div class="stack">
      <section class="card">
        <dl class="pairs">
          <dt>Fingerprint of its decisions</dt>
          <dd>
            ${
              fingerprint
                ? html`<code>${fingerprint}</code>`
                : html`not computed here, because it reads every row: <code>eva fingerprint ${run.name}</code>`
            }
          </dd>
          <dt>Hash of the config</dt>
          <dd><code>${run.config_hash}</code></dd>
          <dt>Seed</dt>
          <dd>${String(run.seed)}</dd>
          <dt>Versions used</dt>
          <dd>
            ${
              Object.entries(packages)
                .filter(([, version]) => version)
                .map(([name, version]) => `${name} ${version}`)
                .join(", ") || "not recorded"
            }
          </dd>
        </dl>
        <ol class="because">
          <li>Install these versions of eva and its packages.</li>
          <li>
            <button class="button" onClick=${() => save(file, new Blob([text], { type: "text/yaml" }))}>
              Save the config
            </button> Its paths are those of the machine that played the run. Credentials are masked (***): enter them
            again.
          </li>
          <li><code>eva run ${file}</code></li>
          <li><code>eva fingerprint last</code> prints the same fingerprint if everything was the same.</li>
        </ol>
      </section>
      <details class="card">
        <summary>The whole config</summary>
        <pre class="text">${text}</pre>
      </details>
    </div>
  `;
}

const root = /** @type {Element} */ (document.getElementById("app"));
root.replaceChildren();
render(html`<${Report} />`, root);
