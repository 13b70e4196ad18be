// Held-out prompts with what several policies responded to them, side by side.
import { html } from "../../ui.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { Pager } from "../../parts/pager.js";
import { Reference } from "../../parts/reference.js";
import { SearchField } from "../../parts/search-field.js";
import { SideBySide } from "../../parts/side-by-side.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, runPath, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").HeldoutPage} HeldoutPage */
/** @typedef {import("../../data/schema.d.ts").HeldoutPrompt} HeldoutPrompt */

const MOST_POLICIES = 6;
const DIFFERENCES = /** @type {[string, string][]} */ ([
  ["any", "where the reward differs"],
  ["better", "where it got better"],
  ["worse", "where it got worse"],
  ["same", "where it stayed the same"],
]);

/** @param {{run: string}} props */
export function Samples({ run }) {
  const wanted = Object.fromEntries(
    ["split", "mode", "difference", "text", "cursor"].map((name) => [name, query.value.get(name)]),
  );
  const request = useRequest(runEndpoint(run, "heldout"), { ...wanted, policy: query.value.getAll("policy") });
  const page = /** @type {HeldoutPage | null} */ (request.data);
  return html`
    <div class="head">
      <h1>Samples</h1>
      <p class="lead">
        What each policy responds to the held-out prompts, which no run trains on. Policy 0 is the initial model.
      </p>
    </div>
    ${page !== null && page.policies.length > 0 && html`<${Choices} page=${page} wanted=${wanted} />`}
    <div class=${request.loading && page ? "old" : ""} aria-busy=${request.loading}>
      <${Loaded} request=${request}>
        ${(/** @type {HeldoutPage} */ shown) =>
          shown.policies.length === 0
            ? html`
              <div class="card">
                <${Empty} title="No policy has been evaluated yet">
                  <p>
                    If the config has <code>evaluation</code> prompts, the initial model and each new policy respond to
                    them. Responses to the prompts that the run trains on are on the pages of${" "}
                    <${Link} to=${runPath(run, "prompts")}>its prompts<//>.
                  </p>
                <//>
              </div>
            `
            : html`<${Prompts} page=${shown} mode=${wanted.mode ?? "greedy"} />`}
      <//>
    </div>
  `;
}

/** @param {string[]} policies */
function withPolicies(policies) {
  const next = new URLSearchParams(query.value);
  next.delete("policy");
  next.delete("cursor");
  for (const policy of policies) next.append("policy", policy);
  return `${location.pathname}?${next}`;
}

/** @param {{page: HeldoutPage, wanted: Record<string, string | null>}} props */
function Choices({ page, wanted }) {
  const change = (/** @type {string} */ name) => (/** @type {Event} */ event) =>
    go(withQuery({ [name]: /** @type {HTMLInputElement} */ (event.currentTarget).value, cursor: null }));
  const choice = (
    /** @type {string} */ name,
    /** @type {string} */ title,
    /** @type {string} */ none,
    /** @type {[string, string][]} */ values,
  ) => html`
    <label class="field">
      ${title}
      <select value=${wanted[name] ?? ""} onChange=${change(name)}>
        <option value="">${none}</option>
        ${values.map(
          ([value, shown]) => html`
            <option key=${value} value=${value} selected=${wanted[name] === value}>${shown}</option>
          `,
        )}
      </select>
    </label>
  `;
  // as asked for, before the responses have arrived
  const asked = query.value.getAll("policy").map(Number);
  const chosen = asked.length ? asked : page.shown;
  const turn = (/** @type {number} */ policy) => {
    const next = chosen.includes(policy) ? chosen.filter((each) => each !== policy) : [...chosen, policy];
    if (next.length) go(withPolicies(next.sort((a, b) => a - b).map(String)));
  };
  const [first, last] = [page.shown[0], page.shown[page.shown.length - 1]];
  return html`
    <div class="filters" role="search">
      ${choice(
        "split",
        "Held-out set",
        "all sets",
        page.splits.map((split) => [split, split]),
      )}
      ${choice("mode", "Responses", "greedy", [["sampled", "sampled at T = 1"]])}
      ${choice("difference", `Policy ${last} against ${first}`, "all prompts", DIFFERENCES)}
      <${SearchField}
        label="Prompt contains"
        value=${wanted.text ?? ""}
        search=${(/** @type {string} */ text) => go(withQuery({ text, cursor: null }))}
      />
      <label class="check">
        <input
          type="checkbox"
          checked=${isMarked()}
          onChange=${() => go(withQuery({ changes: isMarked() ? "plain" : null }), { replace: true })}
        />mark what changed
      </label>
      <fieldset class="policies">
        <legend>Policies</legend>
        ${page.policies.map(
          (policy) => html`
            <label class="check" key=${policy}>
              <input
                type="checkbox"
                checked=${chosen.includes(policy)}
                disabled=${chosen.includes(policy) ? chosen.length === 1 : chosen.length >= MOST_POLICIES}
                onChange=${() => turn(policy)}
              />${policy}
            </label>
          `,
        )}
      </fieldset>
    </div>
  `;
}

const isMarked = () => query.value.get("changes") !== "plain";

/** @param {{page: HeldoutPage, mode: string}} props */
function Prompts({ page, mode }) {
  if (!page.items.length)
    return html`
      <div class="card">
        <${Empty} title="No held-out prompt matches">
          <${Link} to=${withQuery({ split: null, difference: null, text: null, cursor: null })}>
            Show all held-out prompts
          <//>
        <//>
      </div>
    `;
  return html`
    <div class="stack">
      ${page.items.map(
        (prompt) => html`
          <${Sample} key=${`${prompt.split} ${prompt.item}`} prompt=${prompt} page=${page} mode=${mode} />
        `,
      )}
    </div>
    <${Pager} page=${page} noun="held-out prompts" />
  `;
}

/** @param {{prompt: HeldoutPrompt, page: HeldoutPage, mode: string}} props */
function Sample({ prompt, page, mode }) {
  const name = `${prompt.split}, prompt ${prompt.item}`;
  const samples = [...new Set(prompt.responses.map((response) => response.sample))];
  const given = prompt.context.slice(0, prompt.context.length - prompt.turn + 1);
  const earlier = prompt.context.slice(given.length);
  const sideBySide = (/** @type {number} */ sample, /** @type {number} */ turn) => html`
    <${SideBySide}
      key=${sample}
      marked=${isMarked() && mode === "greedy"}
      responses=${prompt.responses
        .filter((response) => response.sample === sample && (turn > earlier.length || response.earlier[turn - 1]))
        .map((response) => {
          const shown = turn > earlier.length ? response : response.earlier[turn - 1];
          return {
            ...shown,
            title: `Policy ${response.checkpoint}`,
            facts: mode === "greedy" ? "" : `response ${sample}`,
            success: shown.reward !== null && shown.reward >= page.success,
          };
        })}
    />
  `;
  return html`
    <section class="card" aria-label=${name}>
      <header><h2>${name}</h2></header>
      ${given.map(
        (message, n) => html`
          <div class="messages" key=${n}>
            <div class="role">${message.role}</div>
            <pre class="text">${message.content}</pre>
          </div>
        `,
      )}
      ${[...earlier.map((message) => message.content), prompt.text].map(
        (text, n) => html`
          <div key=${n}>
            ${earlier.length > 0 && html`<h3>Turn ${n + 1}</h3>`}
            <pre class="text sampled-prompt">${text}</pre>
            ${n === earlier.length && html`<${Reference} value=${prompt.reference} from="the prompt file" />`}
            ${samples.map((sample) => sideBySide(sample, n + 1))}
          </div>
        `,
      )}
    </section>
  `;
}
