// The responses to a prompt: best and worst side by side, then all of them ranked by reward.
import { classes, html, useState } from "../../ui.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { Difference } from "../../parts/difference.js";
import { count, figure } from "../../parts/format.js";
import { Bar } from "../../parts/labels.js";
import { responseText } from "../../parts/side-by-side.js";
import { Empty } from "../../parts/states.js";
import { go, query, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").PromptDetails} PromptDetails */
/** @typedef {import("../../data/schema.d.ts").Response} Response */
/** @typedef {{response: Response, value: number | null, reason: string | null, answer: string | null}} Ranked */

/** @param {{prompt: PromptDetails, run: string}} props */
export function Responses({ prompt, run }) {
  const checkpoints = [...new Set(prompt.responses.items.map((response) => response.checkpoint))];
  const rewarders = [
    ...new Set(prompt.responses.items.flatMap((response) => response.rewards.map((reward) => reward.rewarder))),
  ];
  const selectedPolicy = query.value.get("policy") === null ? null : Number(query.value.get("policy"));
  const by = query.value.get("rewarder");
  const trained = [...prompt.pairs, ...prompt.advantages].map((part) => part.checkpoint);
  const checkpoint = [selectedPolicy, trained[trained.length - 1], checkpoints[checkpoints.length - 1]].find(
    (candidate) => candidate !== null && checkpoints.includes(candidate),
  );
  const rewarder = by !== null && rewarders.includes(by) ? by : rewarders[0];
  // the prompt's own list may stop in the middle of a policy; the list of one policy is always complete
  const full = useRequest(prompt.responses.truncated ? runEndpoint(run, "prompts", prompt.number, "responses") : null, {
    checkpoint,
  });
  const all = prompt.responses.truncated ? (/** @type {any} */ (full.data)?.items ?? []) : prompt.responses.items;
  const ranked = rank(
    all.filter((/** @type {Response} */ response) => response.checkpoint === checkpoint),
    rewarder,
  );
  if (!checkpoints.length)
    return html`
      <section class="card" aria-label="Responses">
        <header><h2>Responses</h2></header>
        <${Empty} title="No responses yet">The prompt has not been in a pool or batch so far.<//>
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
                (policy) => html`
                  <button
                    key=${policy}
                    class="button"
                    aria-pressed=${policy === checkpoint}
                    onClick=${() => go(withQuery({ policy }), { replace: true })}
                  >
                    policy ${policy}${trained.includes(policy) ? ", trained on" : ""}
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
                (name) => html`
                  <button
                    key=${name}
                    class="button"
                    aria-pressed=${name === rewarder}
                    onClick=${() => go(withQuery({ rewarder: name }), { replace: true })}
                  >
                    ${name}
                  </button>
                `,
              )}
            </div>
          `
        }
      </div>
      <${BestAndWorst} ranked=${ranked} />
      <${List}
        ranked=${ranked}
        pairs=${prompt.pairs.filter((pair) => pair.checkpoint === checkpoint)}
        advantages=${prompt.advantages.filter((own) => own.checkpoint === checkpoint)}
      />
    </section>
  `;
}

/**
 * Ranks responses by reward, those without one last.
 * @param {Response[]} responses
 * @param {string | undefined} rewarder
 * @returns {Ranked[]}
 */
export function rank(responses, rewarder) {
  return responses
    .map((response) => {
      const reward = response.rewards.find((candidate) => candidate.rewarder === rewarder);
      return {
        response,
        value: reward?.value ?? null,
        reason: reward?.reason ?? (reward ? null : "not rewarded"),
        answer: reward?.answer ?? null,
      };
    })
    .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity) || a.response.sample - b.response.sample);
}

/** @param {{ranked: Ranked[]}} props */
export function BestAndWorst({ ranked }) {
  const [marked, setMarked] = useState(false);
  const rewarded = ranked.filter((item) => item.value !== null);
  const [best, worst] = [rewarded[0], rewarded[rewarded.length - 1]];
  if (rewarded.length < 2 || best.value === worst.value)
    return rewarded.length > 1
      ? html`
        <p class="soft even">
          All ${count(rewarded.length)} responses have the same reward, ${figure(best.value)}, so there is nothing to
          learn from this prompt.
        </p>
      `
      : null;
  return html`
    <div class="buttons">
      <label class="check">
        <input type="checkbox" checked=${marked} onChange=${() => setMarked(!marked)} /> highlight differences
      </label>
    </div>
    <div class="versus">
      ${
        /** @type {[string, Ranked][]} */ ([
          ["best", best],
          ["worst", worst],
        ]).map(
          ([name, item]) => html`
            <article class=${classes("response", name)} key=${name}>
              <header>
                <span>${name === "best" ? "Best" : "Worst"}</span>
                <span class="number">${figure(item.value)}</span>
                <${ResponseFacts} response=${item.response} />
              </header>
              ${
                marked && name === "worst"
                  ? html`<${Difference} before=${best.response.text} after=${item.response.text} />`
                  : html`
                    <pre class="text">
                      ${responseText(item.response.text)}
                    </pre>
                  `
              }
            </article>
          `,
        )
      }
    </div>
  `;
}

/** @param {{response: Response}} props */
const ResponseFacts = ({ response }) => html`
  <span class="soft small">
    response ${response.sample} · ${count(response.tokens)} tokens
    ${response.finish === "stop" ? "" : html` · <strong>cut off (${response.finish})</strong>`}
  </span>
`;

/** @typedef {import("../../data/schema.d.ts").Advantage} Advantage */

/** @param {{ranked: Ranked[], pairs: import("../../data/schema.d.ts").Pair[], advantages: Advantage[]}} props */
function List({ ranked, pairs, advantages }) {
  const values = ranked.map((item) => item.value).filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...values), Math.max(...values, 1e-9)];
  return html`
    <ol class="ranked" aria-label="All responses by reward">
      ${ranked.map(
        (item) => html`
          <${Item}
            key=${`${item.response.checkpoint}/${item.response.sample}`}
            item=${item}
            share=${item.value === null ? 0 : (item.value - low) / (high - low)}
            pairs=${pairs}
            advantage=${advantages.find((own) => own.sample === item.response.sample)}
          />
        `,
      )}
    </ol>
  `;
}

/**
 * @param {{item: Ranked, share: number, pairs: import("../../data/schema.d.ts").Pair[], advantage?: Advantage}} props
 */
function Item({ item, share, pairs, advantage }) {
  const [open, setOpen] = useState(false);
  const { response } = item;
  const chosen = pairs.some((pair) => pair.chosen === response.sample);
  const rejected = pairs.some((pair) => pair.rejected === response.sample);
  const long = response.text.length > 280 || response.text.split("\n").length > 3;
  return html`
    <li>
      <span class="number" title=${item.reason ?? ""}>${figure(item.value)}</span>
      <${Bar} share=${share} label=${`reward ${figure(item.value)}`} />
      <div>
        <pre class=${classes("text", long && !open && "folded")}>
          ${responseText(response.text)}
        </pre>
        ${item.value === null && item.reason && html`<p class="small soft">no reward: ${item.reason}</p>`}
        ${
          long &&
          html`
            <button class="button bare small" aria-expanded=${open} onClick=${() => setOpen(!open)}>
              ${open ? "Show less" : "Show all"}
            </button>
          `
        }
      </div>
      <span class="small soft">
        ${item.answer && html`<span class="tag" title="What the rewarder read">answer ${item.answer}</span> `}
        ${chosen && html`<span class="tag trained">chosen</span> `}
        ${rejected && html`<span class="tag">rejected</span> `}
        ${
          advantage &&
          (advantage.advantage === null
            ? html`<span class="tag">not trained on: ${(advantage.reason ?? "").replaceAll("_", " ")}</span> `
            : html`<span class="tag trained">advantage ${figure(advantage.advantage)}</span> `)
        }
        <${ResponseFacts} response=${response} />
      </span>
    </li>
  `;
}
