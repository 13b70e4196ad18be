// Lineage: the family of a prompt as a tree, from its seed to its newest descendants.
import { html, useEffect, useMemo, useRef, useState } from "../../ui.js";
import { hueOf } from "../../charts/colours.js";
import { Figure } from "../../charts/figure.js";
import { ApiError, ask, ofRun } from "../../data/api.js";
import { bornIn, count, figure } from "../../parts/format.js";
import { Operator } from "../../parts/labels.js";
import { Waiting, Wrong } from "../../parts/states.js";
import { go, Link, query, runPath, where } from "../../router.js";
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
  const asked = query.value.get("prompt");
  const wanted = asked === null || !/^\d{1,9}$/.test(asked) ? null : Number(asked);
  const family = useRef(new Family());
  const [, setTurn] = useState(0);
  const [error, setError] = useState(/** @type {ApiError | null} */ (null));
  const [selected, setSelected] = useState(wanted);
  const changed = () => setTurn((n) => n + 1);
  const attempt = async (/** @type {() => Promise<void>} */ work) => {
    try {
      await work();
      setError(null);
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      setError(problem);
    }
    changed();
  };
  useEffect(() => {
    let stale = false;
    void attempt(async () => {
      if (wanted === null) {
        const start = await telling(run);
        if (start !== null && !stale) go(where({ prompt: start }), { replace: true });
        return;
      }
      const near = /** @type {Lineage} */ (await ask(ofRun(run, "prompts", wanted, "lineage"), NEAR));
      const root = near.ancestors[0]?.number ?? wanted;
      const next = family.current.known.has(root) ? family.current : new Family();
      if (next !== family.current) next.add(await ask(ofRun(run, "prompts", root, "lineage"), TOP));
      if (stale) return;
      next.lookAt(near);
      family.current = next;
      setSelected(wanted);
    });
    return () => {
      stale = true;
    };
  }, [run, wanted]);

  /** @param {number} number */
  const turn = (number) =>
    attempt(async () => {
      const of = family.current;
      const level = of.path.has(number) ? 0 : 1;
      const open = of.isOpen(number, level);
      of.open.set(number, !open);
      const one = of.known.get(number);
      if (!open && one && (of.below.get(number)?.length ?? 0) < Math.min(one.children, STEP))
        of.add(await ask(ofRun(run, "prompts", number, "lineage"), NEAR));
    });
  /** @param {number} number */
  const more = (number) =>
    attempt(async () => {
      const of = family.current;
      const room = (of.width.get(number) ?? STEP) + 3 * STEP;
      of.width.set(number, room);
      if ((of.below.get(number)?.length ?? 0) < room)
        of.add(await ask(ofRun(run, "prompts", number, "lineage"), { depth: 1, limit: WIDEST }));
    });

  const shown = family.current.shown();
  const one = selected === null ? undefined : family.current.known.get(selected);
  return html`
    <div class="head">
      <h1>Lineage</h1>
      <p class="lead">
        A family of prompts: which mutation made which child, and where the solver still has something to learn.
      </p>
    </div>
    <${Jumps} run=${run} root=${family.current.root} wanted=${wanted} fail=${setError} />
    ${error && html`<${Wrong} error=${error} />`}
    ${
      !shown
        ? error
          ? null
          : html`<${Waiting} />`
        : html`
          <div class="family">
            <${Figure}
              title=${`Family of prompt ${family.current.root}`}
              name=${`${run}-family-${family.current.root}`}
              numbers=${() => numbersOf(shown)}
            >
              <${Tree}
                shown=${shown}
                focus=${wanted}
                selected=${selected}
                select=${setSelected}
                turn=${turn}
                more=${more}
                open=${(/** @type {number} */ number) => go(runPath(run, "prompts", number))}
              />
              <${Keys} known=${family.current.known} />
            <//>
            ${one && html`<${Panel} run=${run} one=${one} family=${family.current} />`}
          </div>
        `
    }
  `;
}

/** Every prompt that the tree shows. @param {import("./family.js").Shown} top */
export function numbersOf(top) {
  const rows = /** @type {(string | number | null)[][]} */ ([]);
  const walk = (/** @type {import("./family.js").Shown} */ part, /** @type {number} */ level) => {
    if (part.kind === "prompt") {
      const { one } = part;
      rows.push([
        String(one.number),
        one.parent === null ? null : String(one.parent),
        one.operator ?? "seed",
        level,
        bornIn(one.born),
        one.info,
        one.children,
        one.batches.join(" "),
        one.text,
      ]);
    }
    part.inner.forEach((one) => walk(one, level + 1));
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

/** Where to begin: the deepest prompt that the newest iteration looked at. @param {string} run */
async function telling(run) {
  const details = /** @type {RunDetails} */ (await ask(ofRun(run)));
  for (const iteration of [details.iteration, details.iteration - 1]) {
    if (iteration < 0) continue;
    const page = /** @type {PromptPage} */ (await ask(ofRun(run, "prompts"), { iteration, sort: "-depth", limit: 1 }));
    if (page.items.length) return page.items[0].number;
  }
  const first = /** @type {PromptPage} */ (await ask(ofRun(run, "prompts"), { limit: 1 }));
  return first.items[0]?.number ?? null;
}

/** @param {{run: string, root: number, wanted: number | null, fail: (error: ApiError) => void}} props */
function Jumps({ run, root, wanted, fail }) {
  const jump = (/** @type {string} */ sort) =>
    ask(ofRun(run, "prompts"), { root, sort, limit: 1 }).then(
      (page) => go(where({ prompt: /** @type {PromptPage} */ (page).items[0]?.number })),
      (error) => {
        if (error instanceof ApiError) fail(error);
        else throw error;
      },
    );
  const to = (/** @type {Event} */ event) =>
    go(where({ prompt: /** @type {HTMLInputElement} */ (event.currentTarget).value }));
  return html`
    <div class="filters">
      <label class="field">Family of prompt<input type="number" min="0" value=${wanted ?? ""} onChange=${to} /></label>
      <button class="button" disabled=${root < 0} onClick=${() => jump("-info")}>Most informative</button>
      <button class="button" disabled=${root < 0} onClick=${() => jump("-depth")}>Deepest</button>
      <button class="button" disabled=${root < 0 || wanted === root} onClick=${() => go(where({ prompt: root }))}>
        Its seed
      </button>
      ${root >= 0 && html`<${Link} class="button bare" to=${`${runPath(run, "prompts")}?root=${root}`}>As a table<//>`}
    </div>
  `;
}

/** @param {{known: Map<number, import("../../data/schema.d.ts").Relative>}} props */
export function Keys({ known }) {
  const operators = useMemo(
    () =>
      [...new Set([...known.values()].map((one) => one.operator))].sort((a, b) =>
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
        <kbd>↑</kbd><kbd>↓</kbd> move <kbd>←</kbd><kbd>→</kbd> close, open <kbd>Enter</kbd> its page
      </li>
    </ul>
  `;
}

/** @param {{run: string, one: import("../../data/schema.d.ts").Relative, family: Family}} props */
export function Panel({ run, one, family }) {
  const parent = one.parent === null ? undefined : family.known.get(one.parent);
  const change = parent && parent.info !== null && one.info !== null ? one.info - parent.info : null;
  return html`
    <aside class="card chosen" aria-label="Chosen prompt" aria-live="polite">
      <header><h2>Prompt ${count(one.number)}</h2></header>
      <p class="soft"><${Operator} name=${one.operator} /> · ${bornIn(one.born)}</p>
      <pre class="text">${one.text}</pre>
      <dl class="pairs">
        <dt>Info when first judged</dt>
        <dd>
          ${figure(one.info)}
          ${
            change === null
              ? ""
              : html`${" "}<span class="soft">(${change >= 0 ? "+" : ""}${figure(change)} against its parent)</span>`
          }
        </dd>
        <dt>Children</dt>
        <dd>${count(one.children)}</dd>
        <dt>In the batch of</dt>
        <dd>${one.batches.length ? `iteration ${one.batches.join(", ")}` : "none"}</dd>
      </dl>
      <${Link} class="button first" to=${runPath(run, "prompts", one.number)}>Open prompt<//>
    </aside>
  `;
}
