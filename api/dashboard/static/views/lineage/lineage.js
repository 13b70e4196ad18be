// The family of a prompt as a tree, from its seed to its newest descendants.
import { html, useEffect, useMemo, useRef, useState } from "../../ui.js";
import { hueOf } from "../../charts/colours.js";
import { Figure } from "../../charts/figure.js";
import { AGAIN_MS, ApiError, fetchJson, isAway, runEndpoint } from "../../data/api.js";
import { bornIn, count, figure } from "../../parts/format.js";
import { Operator } from "../../parts/labels.js";
import { Loading, ErrorNotice } from "../../parts/states.js";
import { go, Link, query, runPath, withQuery } from "../../router.js";
import { Family, STEP } from "./family.js";
import { Tree } from "./tree.js";

/** @typedef {import("../../data/schema.d.ts").Lineage} Lineage */
/** @typedef {import("../../data/schema.d.ts").PromptPage} PromptPage */
/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */

const TOP = { depth: 6, limit: 400 };
const NEAR = { depth: 1, limit: 60 };
const WIDEST = 1000;

/** @param {{run: string}} props */
export function Lineage({ run }) {
  const text = query.value.get("prompt");
  const promptNumber = text === null || !/^\d{1,9}$/.test(text) ? null : Number(text);
  const family = useRef(new Family());
  const [, setTurn] = useState(0);
  const [again, setAgain] = useState(0);
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  const [selected, setSelected] = useState(promptNumber);
  const changed = () => setTurn((n) => n + 1);
  const attempt = async (/** @type {() => Promise<void>} */ work) => {
    try {
      await work();
      setError(null);
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      setError(problem);
      if (isAway(problem)) setTimeout(() => setAgain((n) => n + 1), AGAIN_MS);
    }
    changed();
  };
  useEffect(() => {
    let stale = false;
    void attempt(async () => {
      if (promptNumber === null) {
        const start = await startingPrompt(run);
        if (start !== null && !stale) go(withQuery({ prompt: start }), { replace: true });
        return;
      }
      const near = /** @type {Lineage} */ (await fetchJson(runEndpoint(run, "prompts", promptNumber, "lineage"), NEAR));
      const root = near.ancestors[0]?.number ?? promptNumber;
      const next = family.current.known.has(root) ? family.current : new Family();
      if (next !== family.current) next.add(await fetchJson(runEndpoint(run, "prompts", root, "lineage"), TOP));
      if (stale) return;
      next.openPathTo(near);
      family.current = next;
      setSelected(promptNumber);
    });
    return () => {
      stale = true;
    };
  }, [run, promptNumber, again]);

  /** @param {number} number */
  const turn = (number) =>
    attempt(async () => {
      const current = family.current;
      const level = current.path.has(number) ? 0 : 1;
      const open = current.isOpen(number, level);
      current.open.set(number, !open);
      const prompt = current.known.get(number);
      if (!open && prompt && (current.below.get(number)?.length ?? 0) < Math.min(prompt.children, STEP))
        current.add(await fetchJson(runEndpoint(run, "prompts", number, "lineage"), NEAR));
    });
  /** @param {number} number */
  const more = (number) =>
    attempt(async () => {
      const current = family.current;
      const room = (current.width.get(number) ?? STEP) + 3 * STEP;
      current.width.set(number, room);
      if ((current.below.get(number)?.length ?? 0) < room)
        current.add(await fetchJson(runEndpoint(run, "prompts", number, "lineage"), { depth: 1, limit: WIDEST }));
    });

  const shown = family.current.shown();
  const prompt = selected === null ? undefined : family.current.known.get(selected);
  return html`
    <div class="head">
      <h1>Lineage</h1>
      <p class="lead">
        A family of prompts: which mutation made which child, and where there is still something to learn.
      </p>
    </div>
    <${JumpBar} run=${run} root=${family.current.root} wanted=${promptNumber} fail=${setError} />
    ${error && html`<${ErrorNotice} error=${error} />`}
    ${
      !shown
        ? error
          ? null
          : html`<${Loading} />`
        : html`
          <div class="family">
            <${Figure}
              title=${`Family of prompt ${family.current.root}`}
              name=${`${run}-family-${family.current.root}`}
              numbers=${() => numbersOf(shown)}
            >
              <${Tree}
                shown=${shown}
                focus=${promptNumber}
                selected=${selected}
                select=${setSelected}
                turn=${turn}
                more=${more}
                open=${(/** @type {number} */ number) => go(runPath(run, "prompts", number))}
              />
              <${TreeLegend} known=${family.current.known} />
            <//>
            ${prompt && html`<${SelectedPrompt} run=${run} prompt=${prompt} family=${family.current} />`}
          </div>
        `
    }
  `;
}

/** The prompts that the tree shows, as a table. @param {import("./family.js").TreeNode} top */
export function numbersOf(top) {
  const rows = /** @type {(string | number | null)[][]} */ ([]);
  const walk = (/** @type {import("./family.js").TreeNode} */ part, /** @type {number} */ level) => {
    if (part.kind === "prompt") {
      const { prompt } = part;
      rows.push([
        String(prompt.number),
        prompt.parent === null ? null : String(prompt.parent),
        prompt.operator ?? "seed",
        level,
        bornIn(prompt.born),
        prompt.info,
        prompt.children,
        prompt.batches.join(" "),
        prompt.text,
      ]);
    }
    part.inner.forEach((child) => walk(child, level + 1));
  };
  walk(top, 0);
  return {
    columns: [
      "prompt",
      "parent",
      "operator",
      "depth (evolutions)",
      "made in",
      "info when first judged",
      "children",
      "in the batches of iterations",
      "text",
    ],
    rows,
  };
}

/** Chooses the prompt to start from: the deepest one of the newest iteration. @param {string} run */
async function startingPrompt(run) {
  const details = /** @type {RunDetails} */ (await fetchJson(runEndpoint(run)));
  for (const iteration of [details.iteration, details.iteration - 1]) {
    if (iteration < 0) continue;
    const page = /** @type {PromptPage} */ (
      await fetchJson(runEndpoint(run, "prompts"), { iteration, sort: "-depth", limit: 1 })
    );
    if (page.items.length) return page.items[0].number;
  }
  const first = /** @type {PromptPage} */ (await fetchJson(runEndpoint(run, "prompts"), { limit: 1 }));
  return first.items[0]?.number ?? null;
}

/** @param {{run: string, root: number, wanted: number | null, fail: (error: ApiError) => void}} props */
function JumpBar({ run, root, wanted, fail }) {
  const jump = (/** @type {string} */ sort) =>
    fetchJson(runEndpoint(run, "prompts"), { root, sort, limit: 1 }).then(
      (page) => go(withQuery({ prompt: /** @type {PromptPage} */ (page).items[0]?.number })),
      (error) => {
        if (error instanceof ApiError) fail(error);
        else throw error;
      },
    );
  const openFamily = (/** @type {Event} */ event) =>
    go(withQuery({ prompt: /** @type {HTMLInputElement} */ (event.currentTarget).value }));
  return html`
    <div class="filters">
      <label class="field">
        Family of prompt<input type="number" min="0" value=${wanted ?? ""} onChange=${openFamily} />
      </label>
      <button class="button" disabled=${root < 0} onClick=${() => jump("-info")}>Most informative</button>
      <button class="button" disabled=${root < 0} onClick=${() => jump("-depth")}>Deepest</button>
      <button class="button" disabled=${root < 0 || wanted === root} onClick=${() => go(withQuery({ prompt: root }))}>
        Seed${" "}
      </button>
      ${
        root >= 0 &&
        html`<${Link} class="button bare" to=${`${runPath(run, "prompts")}?root=${root}`}>Show as a table<//>`
      }
    </div>
  `;
}

/** @param {{known: Map<number, import("../../data/schema.d.ts").Relative>}} props */
export function TreeLegend({ known }) {
  const operators = useMemo(
    () =>
      [...new Set([...known.values()].map((prompt) => prompt.operator))].sort((a, b) =>
        String(a ?? "").localeCompare(String(b ?? "")),
      ),
    [known.size],
  );
  return html`
    <ul class="legend tree-legend">
      ${operators.map(
        (name) => html`
          <li key=${name}><span class="key box" style=${{ "--hue": `var(${hueOf(name)})` }} />${name ?? "seed"}</li>
        `,
      )}
      <li><span class="shades" aria-hidden="true" />paler: less informative</li>
      <li><span class="ring" aria-hidden="true" />ring: was in a batch</li>
      <li class="on-screen">
        <kbd>↑</kbd><kbd>↓</kbd> move <kbd>←</kbd><kbd>→</kbd> close, open <kbd>Enter</kbd> show the prompt
      </li>
    </ul>
  `;
}

const SELECTED = `A prompt is evolved because its info was measured to be high, partly by luck. So a child that is as
  informative as its parent mostly shows less. The page Evolution has the gain of each operator without this bias.`;

/** @param {{run: string, prompt: import("../../data/schema.d.ts").Relative, family: Family}} props */
export function SelectedPrompt({ run, prompt, family }) {
  const parent = prompt.parent === null ? undefined : family.known.get(prompt.parent);
  return html`
    <aside class="card chosen" aria-label="Selected prompt" aria-live="polite">
      <header><h2>Prompt ${count(prompt.number)}</h2></header>
      <p class="soft"><${Operator} name=${prompt.operator} /> · ${bornIn(prompt.born)}</p>
      <pre class="text">${prompt.text}</pre>
      <dl class="pairs">
        <dt>Info when first judged</dt>
        <dd>
          ${figure(prompt.info)}
          ${
            parent && parent.info !== null && prompt.info !== null
              ? html`
                ${" "}
                <span class="soft" title=${SELECTED}>(its parent: ${figure(parent.info)})</span>
              `
              : ""
          }
        </dd>
        <dt>Children</dt>
        <dd>${count(prompt.children)}</dd>
        <dt>In the batch of</dt>
        <dd>${prompt.batches.length ? `iteration ${prompt.batches.join(", ")}` : "none"}</dd>
      </dl>
      <${Link} class="button first" to=${runPath(run, "prompts", prompt.number)}>Open prompt<//>
    </aside>
  `;
}
