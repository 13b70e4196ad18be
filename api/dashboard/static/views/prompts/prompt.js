// The page of a prompt: what changed, its responses, and why it was sampled and trained on.
import { html, useEffect } from "../../ui.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { Difference } from "../../parts/difference.js";
import { bornIn, count, figure } from "../../parts/format.js";
import { Operator } from "../../parts/labels.js";
import { Reference } from "../../parts/reference.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, runPath } from "../../router.js";
import { neighbours } from "./neighbours.js";
import { Policies } from "./policies.js";
import { Responses } from "./responses.js";

/** @typedef {import("../../data/schema.d.ts").PromptDetails} PromptDetails */
/** @typedef {import("../../data/schema.d.ts").Lineage} Lineage */
/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */

const SHOWN_CHILDREN = 12;

/** @param {{run: string, rest: string[]}} props */
export function Prompt({ run, rest }) {
  const number = Number(rest[0]);
  const valid = Number.isInteger(number) && number >= 0;
  const request = useRequest(valid ? runEndpoint(run, "prompts", number) : null);
  const family = useRequest(valid ? runEndpoint(run, "prompts", number, "lineage") : null, { depth: 1, limit: 100 });
  const whole = useRequest(runEndpoint(run));
  /** @type {RunDetails | null} */
  const details = whole.data;
  const last = (details?.prompts ?? Infinity) - 1;
  if (!valid)
    return html`
      <div class="card">
        <${Empty} title="There is no such prompt"><${Link} to=${runPath(run, "prompts")}>All prompts<//><//>
      </div>
    `;
  return html`
    <${Steps} run=${run} number=${number} last=${last} />
    <div class=${request.loading && request.data ? "old" : ""} aria-busy=${request.loading}>
      <${Loaded} request=${request}>
        ${(/** @type {PromptDetails} */ prompt) => html`
          <${Body} run=${run} prompt=${prompt} family=${/** @type {Lineage | null} */ (family.data)} />
        `}
      <//>
    </div>
  `;
}

/** @param {{run: string, number: number, last: number}} props */
function Steps({ run, number, last }) {
  const { before, after, from } = neighbours(run, number, last);
  const openPrompt = (/** @type {number | null} */ target) => {
    if (target !== null) go(runPath(run, "prompts", target));
  };
  useEffect(() => {
    const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA|svg)$/.test(event.target.tagName)) return;
      if (event.key === "j" || event.key === "ArrowRight") openPrompt(after);
      else if (event.key === "k" || event.key === "ArrowLeft") openPrompt(before);
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, [run, before, after]);
  return html`
    <div class="head prompt-head">
      <h1>Prompt ${count(number)}</h1>
      <span class="spring" />
      <div class="buttons">
        ${from && html`<${Link} class="button bare" to=${from}>Back to the list<//>`}
        <${Link} class="button bare" to=${`${runPath(run, "lineage")}?prompt=${number}`}>Show in the family tree<//>
        <button class="button" disabled=${before === null} onClick=${() => openPrompt(before)}>
          <kbd>k</kbd> Previous
        </button>
        <button class="button" disabled=${after === null} onClick=${() => openPrompt(after)}>Next <kbd>j</kbd></button>
      </div>
    </div>
  `;
}

/** @param {{run: string, prompt: PromptDetails, family: Lineage | null}} props */
function Body({ run, prompt, family }) {
  const parent =
    family && family.prompt.number === prompt.number ? (family.ancestors[family.ancestors.length - 1] ?? null) : null;
  return html`
    <div class="stack">
      <section class="card asked">
        <header>
          <h2>${prompt.parent === null ? "Seed prompt" : "Text and changes"}</h2>
          <span class="aside">
            <${Operator} name=${prompt.operator} /> · ${bornIn(prompt.born)} · depth ${prompt.depth}
            ${prompt.topic ? html` · <span class="tag" title=${prompt.topic}>${prompt.topic}</span>` : ""}
          </span>
          ${
            parent &&
            html`
              <p>
                Compared with its parent${" "}
                <${Link} to=${runPath(run, "prompts", parent.number)}>#${parent.number}<//>:${" "}
                <ins>added</ins> <del>removed</del>
              </p>
            `
          }
        </header>
        ${
          prompt.context.length > 0 &&
          html`
            <div class="messages">
              ${prompt.context.map(
                (message, n) => html`
                  <div key=${n}>
                    <div class="role">${message.role}</div>
                    <pre class="text">${message.content}</pre>
                  </div>
                `,
              )}
              <div class="role">the prompt</div>
            </div>
          `
        }
        ${
          parent
            ? html`<${Difference} before=${parent.text} after=${prompt.text} />`
            : html`<pre class="text">${prompt.text}</pre>`
        }
        <${Reference} value=${prompt.reference} from=${
          prompt.parent === null || prompt.operator === "copy" ? "the prompt file" : "the creator"
        } />
      </section>
      <${Family} run=${run} prompt=${prompt} family=${family} />
      ${Object.entries(prompt.quarantined).map(
        ([checkpoint, why]) => html`
          <div class="notice bad" key=${checkpoint}>
            <h3>Policy ${checkpoint} produced no usable responses</h3>
            <p class="soft">${why}</p>
          </div>
        `,
      )}
      <${Responses} prompt=${prompt} run=${run} />
      <${Policies} prompt=${prompt} />
      <${Why} run=${run} prompt=${prompt} />
    </div>
  `;
}

/** @param {{run: string, prompt: PromptDetails, family: Lineage | null}} props */
function Family({ run, prompt, family }) {
  if (!family || family.prompt.number !== prompt.number) return null;
  const children = family.descendants.filter((relative) => relative.parent === prompt.number);
  const link = (/** @type {import("../../data/schema.d.ts").Relative} */ relative) => html`
    <${Link} key=${relative.number} to=${runPath(run, "prompts", relative.number)} title=${relative.text}>
      <${Operator} name=${relative.operator} />
      <span class="number">#${relative.number}</span>
      ${relative.info !== null && html`<span class="soft number">${figure(relative.info)}</span>`}
    <//>
  `;
  return html`
    <section class="card" aria-label="Family">
      <header>
        <h2>Family</h2>
        <span class="aside">operator, number, informativeness when first judged</span>
      </header>
      <div class="line-of-descent">
        ${family.ancestors.map((ancestor) => html`${link(ancestor)}<span class="arrow" aria-hidden="true">→</span>`)}
        <span class="here" aria-current="page">
          <${Operator} name=${prompt.operator} />#${prompt.number}
          ${family.prompt.info !== null && html`<span class="number">${figure(family.prompt.info)}</span>`}
        </span>
        ${
          children.length > 0
            ? html`<span class="arrow" aria-hidden="true">→</span>${children.slice(0, SHOWN_CHILDREN).map(link)}`
            : html`<span class="soft">no children</span>`
        }
        ${
          prompt.children > SHOWN_CHILDREN &&
          html`
            <${Link} to=${`${runPath(run, "lineage")}?prompt=${prompt.number}`}>
              and ${count(prompt.children - SHOWN_CHILDREN)} more
            <//>
          `
        }
      </div>
    </section>
  `;
}

/** @param {{run: string, prompt: PromptDetails}} props */
function Why({ run, prompt }) {
  const pools = useRequest(runEndpoint(run, "statistics"), { name: "pool" });
  const thresholds = new Map(
    /** @type {any} */ (pools.data?.items ?? []).map((/** @type {any} */ row) => [row.iteration, row.data.threshold]),
  );
  const text = (
    /** @type {boolean | null} */ value,
    /** @type {string} */ yes,
    /** @type {string} */ no,
    /** @type {string} */ absent,
  ) => (value === null ? absent : value ? yes : no);
  return html`
    <section class="card" aria-label="Why">
      <header><h2>Why it was sampled and trained on</h2></header>
      <ol class="because">${prompt.why.map((sentence, n) => html`<li key=${n}>${sentence}</li>`)}</ol>
      ${
        prompt.parts.length > 0 &&
        html`
          <div class="scroll" tabindex="0" role="region" aria-label="Iterations it took part in">
            <table class="data">
              <thead>
                <tr>
                  <th scope="col">Iteration</th>
                  <th scope="col" class="number">Info in the pool</th>
                  <th scope="col" class="number">Weight</th>
                  <th scope="col" class="number" title="Gumbel key: the prompts with the largest keys are sampled">
                    Key
                  </th>
                  <th scope="col" class="number" title="Smallest key among the sampled prompts">Threshold</th>
                  <th scope="col">Evolved</th>
                  <th scope="col">In the batch</th>
                  <th scope="col" class="number">Info in the batch</th>
                  <th scope="col">Pairs</th>
                </tr>
              </thead>
              <tbody>
                ${prompt.parts.map(
                  (part) => html`
                    <tr key=${part.iteration}>
                      <td class="number">${part.iteration}</td>
                      <td class="number" title=${part.pool_reason ?? ""}>
                        ${
                          part.pool_info === null && part.pool_reason
                            ? html`<span class="soft">${part.pool_reason.replaceAll("_", " ")}</span>`
                            : figure(part.pool_info)
                        }
                      </td>
                      <td class="number">${figure(part.weight)}</td>
                      <td class="number">${figure(part.key)}</td>
                      <td class="number">${figure(/** @type {any} */ (thresholds.get(part.iteration)))}</td>
                      <td>${text(part.sampled, "sampled", "not sampled", "not in the pool")}</td>
                      <td>${text(part.buffer, "kept from the pool", "as a new prompt", "no")}</td>
                      <td class="number">
                        ${
                          part.batch_info === null && part.batch_reason
                            ? html`<span class="soft">${part.batch_reason.replaceAll("_", " ")}</span>`
                            : figure(part.batch_info)
                        }
                      </td>
                      <td>
                        ${prompt.pairs
                          .filter((pair) => pair.iteration === part.iteration)
                          .map(
                            (pair) => html`
                              <div key=${`${pair.chosen}/${pair.rejected}`}>
                                response ${pair.chosen} over ${pair.rejected}, margin ${figure(pair.margin)}
                              </div>
                            `,
                          )}
                        ${prompt.advantages
                          .filter((own) => own.iteration === part.iteration && own.advantage !== null)
                          .map(
                            (own) => html`
                              <div key=${own.sample}>response ${own.sample}, advantage ${figure(own.advantage)}</div>
                            `,
                          )}
                      </td>
                    </tr>
                  `,
                )}
              </tbody>
            </table>
          </div>
        `
      }
    </section>
  `;
}
