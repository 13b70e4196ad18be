// What was answered to a prompt: best and worst side by side, all ranked by reward.
import { classes, html, useState } from "../../ui.js";
import { ofRun, useAsked } from "../../data/api.js";
import { Difference } from "../../parts/difference.js";
import { count, figure } from "../../parts/format.js";
import { Bar } from "../../parts/labels.js";
import { Empty } from "../../parts/states.js";

/** @typedef {import("../../data/schema.d.ts").PromptDetails} PromptDetails */
/** @typedef {import("../../data/schema.d.ts").Response} Response */
/** @typedef {{response: Response, value: number | null, reason: string | null}} Ranked */

/** @param {{prompt: PromptDetails, run: string}} props */
export function Responses({ prompt, run }) {
  const checkpoints = [...new Set(prompt.responses.items.map((one) => one.checkpoint))];
  const rewarders = [...new Set(prompt.responses.items.flatMap((one) => one.rewards.map((reward) => reward.rewarder)))];
  const [wanted, setWanted] = useState(/** @type {number | null} */ (null));
  const [by, setBy] = useState(/** @type {string | null} */ (null));
  const trained = prompt.pairs.map((pair) => pair.checkpoint);
  const checkpoint = [wanted, trained[trained.length - 1], checkpoints[checkpoints.length - 1]].find(
    (one) => one !== null && checkpoints.includes(one),
  );
  const rewarder = by !== null && rewarders.includes(by) ? by : rewarders[0];
  // a page of responses may end in the middle of a policy's: one policy's are always given in full
  const full = useAsked(prompt.responses.truncated ? ofRun(run, "prompts", prompt.number, "responses") : null, {
    checkpoint,
  });
  const all = prompt.responses.truncated ? (/** @type {any} */ (full.data)?.items ?? []) : prompt.responses.items;
  const ranked = rank(
    all.filter((/** @type {Response} */ one) => one.checkpoint === checkpoint),
    rewarder,
  );
  if (!checkpoints.length)
    return html`
      <section class="card" aria-label="Responses">
        <header><h2>Responses</h2></header>
        <${Empty} title="Not answered yet">It was in no pool and no batch so far.<//>
      </section>
    `;
  return html`
    <section class="card" aria-label="Responses">
      <header>
        <h2>Responses</h2>
        <span class="aside">
          ${count(ranked.length)} from policy ${checkpoint}${rewarder ? `, rewarded by ${rewarder}` : ""}
        </span>
      </header>
      <div class="buttons">
        ${
          checkpoints.length > 1 &&
          html`
            <div class="buttons switch" role="group" aria-label="Policy">
              ${checkpoints.map(
                (one) => html`
                  <button key=${one} class="button" aria-pressed=${one === checkpoint} onClick=${() => setWanted(one)}>
                    policy ${one}${trained.includes(one) ? ", trained on" : ""}
                  </button>
                `,
              )}
            </div>
          `
        }
        ${
          rewarders.length > 1 &&
          html`
            <div class="buttons switch" role="group" aria-label="Rewarder">
              ${rewarders.map(
                (one) => html`
                  <button key=${one} class="button" aria-pressed=${one === rewarder} onClick=${() => setBy(one)}>
                    ${one}
                  </button>
                `,
              )}
            </div>
          `
        }
      </div>
      <${Versus} ranked=${ranked} />
      <${List} ranked=${ranked} pairs=${prompt.pairs.filter((pair) => pair.checkpoint === checkpoint)} />
    </section>
  `;
}

/**
 * By reward, those without one last.
 * @param {Response[]} responses
 * @param {string | undefined} rewarder
 * @returns {Ranked[]}
 */
export function rank(responses, rewarder) {
  return responses
    .map((response) => {
      const reward = response.rewards.find((one) => one.rewarder === rewarder);
      return { response, value: reward?.value ?? null, reason: reward?.reason ?? (reward ? null : "not rewarded") };
    })
    .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity) || a.response.sample - b.response.sample);
}

/** @param {{ranked: Ranked[]}} props */
export function Versus({ ranked }) {
  const [marked, setMarked] = useState(false);
  const known = ranked.filter((one) => one.value !== null);
  const [best, worst] = [known[0], known[known.length - 1]];
  if (known.length < 2 || best.value === worst.value)
    return known.length > 1
      ? html`
        <p class="soft even">
          All ${count(known.length)} responses have the reward ${figure(best.value)}: there is nothing to learn from
          here.
        </p>
      `
      : null;
  return html`
    <div class="buttons">
      <label class="check">
        <input type="checkbox" checked=${marked} onChange=${() => setMarked(!marked)} /> mark what differs
      </label>
    </div>
    <div class="versus">
      ${
        /** @type {[string, Ranked][]} */ ([
          ["best", best],
          ["worst", worst],
        ]).map(
          ([name, one]) => html`
            <article class=${classes("response", name)} key=${name}>
              <header>
                <span>${name === "best" ? "Best" : "Worst"}</span>
                <span class="number">${figure(one.value)}</span>
                <${Told} response=${one.response} />
              </header>
              ${
                marked && name === "worst"
                  ? html`<${Difference} before=${best.response.text} after=${one.response.text} />`
                  : html`<pre class="text">${one.response.text || html`<span class="soft">(empty)</span>`}</pre>`
              }
            </article>
          `,
        )
      }
    </div>
  `;
}

/** @param {{response: Response}} props */
const Told = ({ response }) => html`
  <span class="soft small">
    response ${response.sample} · ${count(response.tokens)} tokens
    ${response.finish === "stop" ? "" : html` · <strong>cut (${response.finish})</strong>`}
  </span>
`;

/** @param {{ranked: Ranked[], pairs: import("../../data/schema.d.ts").Pair[]}} props */
function List({ ranked, pairs }) {
  const values = ranked.map((one) => one.value).filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...values), Math.max(...values, 1e-9)];
  return html`
    <ol class="ranked" aria-label="All responses by reward">
      ${ranked.map(
        (one) => html`
          <${Item}
            key=${`${one.response.checkpoint}/${one.response.sample}`}
            one=${one}
            share=${one.value === null ? 0 : (one.value - low) / (high - low)}
            pairs=${pairs}
          />
        `,
      )}
    </ol>
  `;
}

/** @param {{one: Ranked, share: number, pairs: import("../../data/schema.d.ts").Pair[]}} props */
function Item({ one, share, pairs }) {
  const [open, setOpen] = useState(false);
  const { response } = one;
  const chosen = pairs.some((pair) => pair.chosen === response.sample);
  const rejected = pairs.some((pair) => pair.rejected === response.sample);
  const long = response.text.length > 280 || response.text.split("\n").length > 3;
  return html`
    <li>
      <span class="number" title=${one.reason ?? ""}>${figure(one.value)}</span>
      <${Bar} share=${share} label=${`reward ${figure(one.value)}`} />
      <div>
        <pre class=${classes("text", long && !open && "folded")}>
          ${response.text || html`<span class="soft">(empty)</span>`}
        </pre>
        ${one.value === null && one.reason && html`<p class="small soft">no reward: ${one.reason}</p>`}
        ${
          long &&
          html`
            <button class="button bare small" aria-expanded=${open} onClick=${() => setOpen(!open)}>
              ${open ? "Less" : "All of it"}
            </button>
          `
        }
      </div>
      <span class="small soft">
        ${chosen && html`<span class="tag trained">chosen</span> `}
        ${rejected && html`<span class="tag">rejected</span> `}
        <${Told} response=${response} />
      </span>
    </li>
  `;
}
