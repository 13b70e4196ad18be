// The table of all prompts, filtered, sorted and paged by the server.
import { html, useEffect } from "../../ui.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { count, figure, percent } from "../../parts/format.js";
import { Operator } from "../../parts/labels.js";
import { Pager } from "../../parts/pager.js";
import { Sorted } from "../../parts/sorted.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, runPath, withQuery } from "../../router.js";
import { rememberList } from "./neighbours.js";

/** @typedef {import("../../data/schema.d.ts").PromptPage} PromptPage */
/** @typedef {import("../../data/schema.d.ts").ListedPrompt} ListedPrompt */

const LIMIT = 50;
/** @type {[string, string, Record<string, unknown>][]} */
const FIELDS = [
  ["text", "Text contains", { type: "search", maxlength: 500 }],
  ["born", "Made in", { type: "number", min: -1, title: "-1: seed prompts" }],
  ["info_min", "Info from", { type: "number", step: "any" }],
  ["info_max", "to", { type: "number", step: "any" }],
  ["depth", "Depth", { type: "number", min: 0 }],
  ["root", "Seed prompt", { type: "number", min: 0 }],
  ["topic", "Topic", { type: "search", maxlength: 500 }],
];
/** Of the responses that a prompt was judged by, and what became of it. @type {[string, string, string][]} */
const FIGURES = [
  ["reward", "Reward", "Mean reward of the responses that it was judged by"],
  ["margin", "Margin", "Best reward minus worst"],
  ["length", "Length", "Mean number of tokens of the responses"],
  ["correlation", "Reward ~ length", "Correlation of reward and length over the responses"],
  ["children", "Children", "Prompts that were evolved directly from it"],
];
/** @typedef {"success" | "gain" | "vote" | "likeness" | "guide"} Rare */
/** Only where they are known. @type {[Rare, string, string][]} */
const RARE = [
  ["success", "Success", "Share of the responses whose reward reaches evaluation.success"],
  ["gain", "Gain", "Mean reward of the newest policy that responded to it minus that of the first one"],
  ["vote", "Vote", "Share of the responses that have the commonest answer, and that answer"],
  ["likeness", "Likeness", "How much it repeats other prompts of the run, 0 to 1"],
  ["guide", "Guide", "How sensible and useful a task the guide finds it, 0 to 1"],
];
const FILTERS = ["iteration", "operator", "area", ...FIELDS.map(([name]) => name)];

/** @param {{run: string}} props */
export function Prompts({ run }) {
  const wanted = Object.fromEntries([...FILTERS, "sort", "cursor"].map((name) => [name, query.value.get(name)]));
  const request = useRequest(runEndpoint(run, "prompts"), { ...wanted, limit: LIMIT });
  const page = /** @type {PromptPage | null} */ (request.data);
  useEffect(() => {
    if (page)
      rememberList(
        run,
        page.items.map((prompt) => prompt.number),
        withQuery({}),
      );
  }, [page]);
  const filtered = FILTERS.some((name) => wanted[name]);
  return html`
    <div class="head">
      <h1>Prompts</h1>
      <p class="lead">
        Every prompt of the run, whether a seed or written by the creator. Filters and order are part of the address, so
        you can share a link to what you see.
      </p>
    </div>
    <${Filters} run=${run} wanted=${wanted} filtered=${filtered} />
    <div class=${request.loading && page ? "old" : ""} aria-busy=${request.loading}>
      <${Loaded} request=${request}>
        ${(/** @type {PromptPage} */ shown) =>
          shown.items.length === 0
            ? html`
              <div class="card">
                <${Empty} title=${filtered ? "No prompt matches these filters" : "The run has no prompts yet"}>
                  ${filtered && html`<${Link} to=${runPath(run, "prompts")}>Show all prompts<//>`}
                <//>
              </div>
            `
            : html`<${List} run=${run} page=${shown} sort=${wanted.sort ?? "number"} iteration=${wanted.iteration} />`}
      <//>
    </div>
  `;
}

/** @param {{run: string, wanted: Record<string, string | null>, filtered: boolean}} props */
function Filters({ run, wanted, filtered }) {
  const iterations = useRequest(runEndpoint(run, "iterations"));
  const iterationList =
    /** @type {import("../../data/schema.d.ts").Iterations | null} */ (iterations.data)?.items ?? [];
  const operators = [
    ...new Set(
      iterationList.flatMap((iteration) =>
        iteration.stages.flatMap((stage) => Object.keys(/** @type {any} */ (stage.counts).per_operator ?? {})),
      ),
    ),
  ].sort();
  const change = (/** @type {string} */ name) => (/** @type {Event} */ event) =>
    go(withQuery({ [name]: /** @type {HTMLInputElement} */ (event.currentTarget).value, cursor: null }));
  const choice = (
    /** @type {string} */ name,
    /** @type {string} */ title,
    /** @type {[string, string][]} */ values,
  ) => html`
    <label class="field">
      ${title}
      <select value=${wanted[name] ?? ""} onChange=${change(name)}>
        <option value="">any</option>
        ${values.map(
          ([value, shown]) => html`
            <option key=${value} value=${value} selected=${wanted[name] === value}>${shown}</option>
          `,
        )}
      </select>
    </label>
  `;
  return html`
    <div class="filters" role="search">
      ${choice(
        "iteration",
        "In pool or batch of",
        iterationList.map((iteration) => [String(iteration.number), `iteration ${iteration.number}`]),
      )}
      ${choice(
        "operator",
        "Operator",
        operators.map((name) => [name, name]),
      )}
      ${FIELDS.map(
        ([name, title, rest]) => html`
          <label class="field" key=${name}>
            ${title}
            <input value=${wanted[name] ?? ""} onChange=${change(name)} ...${rest} />
          </label>
        `,
      )}
      ${
        wanted.area &&
        html`
          <span class="buttons chip">
            <${Link} to=${`${runPath(run, "map")}?area=${encodeURIComponent(wanted.area)}`}>in an area of the map<//>
            <button
              class="button bare"
              aria-label="Remove the area filter"
              onClick=${() => go(withQuery({ area: null, cursor: null }))}
            >
              ×
            </button>
          </span>
        `
      }
      ${filtered && html`<${Link} class="button bare" to=${runPath(run, "prompts")}>Clear<//>`}
    </div>
  `;
}

/** @param {{run: string, page: PromptPage, sort: string, iteration: string | null}} props */
function List({ run, page, sort, iteration }) {
  // a success that no response reaches says nothing: rewards of another kind never reach it
  const rare = RARE.filter(
    ([name]) =>
      sort.endsWith(name) || page.items.some((prompt) => (name === "success" ? prompt[name] : prompt[name] !== null)),
  );
  const shown = rare.map(([name]) => name);
  return html`
    <div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Prompts">
        <table class="data prompts">
          <thead>
            <tr>
              <${Sorted} name="number" title="Prompt" sort=${sort} first="number" number=${true} />
              <th scope="col">Text</th>
              <th scope="col">Operator</th>
              <${Sorted} name="depth" title="Depth" sort=${sort} first="-depth" number=${true} />
              <${Sorted} name="born" title="Made in" sort=${sort} first="-born" />
              <${Sorted}
                name="info"
                title=${iteration === null ? "Info when first judged" : `Info in iteration ${iteration}`}
                sort=${sort}
                first="-info"
                number=${true}
              />
              ${[...FIGURES, ...rare].map(
                ([name, title, hint]) => html`
                  <${Sorted}
                    key=${name}
                    name=${name}
                    title=${title}
                    sort=${sort}
                    first=${`-${name}`}
                    number=${true}
                    hint=${hint}
                  />
                `,
              )}
            </tr>
          </thead>
          <tbody>
            ${page.items.map(
              (prompt) => html`<${Row} key=${prompt.number} run=${run} prompt=${prompt} rare=${shown} />`,
            )}
          </tbody>
        </table>
      </div>
    </div>
    <${Pager} page=${page} noun="prompts" />
  `;
}

/** @param {{run: string, prompt: ListedPrompt, rare: Rare[]}} props */
const Row = ({ run, prompt, rare }) => html`
  <tr>
    <td class="number"><${Link} to=${runPath(run, "prompts", prompt.number)}>${count(prompt.number)}<//></td>
    <td class="asks">
      <${Link} to=${runPath(run, "prompts", prompt.number)} tabindex="-1">${prompt.text}<//>
      ${prompt.topic && html`<span class="tag" title=${prompt.topic}>${prompt.topic}</span>`}
    </td>
    <td><${Operator} name=${prompt.operator} /></td>
    <td class="number">${count(prompt.depth)}</td>
    <td class="soft nowrap">${prompt.born < 0 ? "seed" : `iteration ${prompt.born}`}</td>
    <td class="number">${figure(prompt.info)}</td>
    <td class="number">${figure(prompt.reward)}</td>
    <td class="number">${figure(prompt.margin)}</td>
    <td class="number">${figure(prompt.length)}</td>
    <td class="number">${figure(prompt.correlation)}</td>
    <td class="number">${count(prompt.children)}</td>
    ${rare.map(
      (name) => html`
        <td class="number" key=${name}>
          ${name === "success" ? percent(prompt.success) : figure(prompt[name])}${" "}
          ${name === "vote" && prompt.answer && html`<span class="tag" title=${prompt.answer}>${prompt.answer}</span>`}
        </td>
      `,
    )}
  </tr>
`;
