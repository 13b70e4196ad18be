// Launches a run: choose a config, edit it as a form or YAML, let the API check it, start it.
import { html, useEffect, useMemo, useRef, useState } from "../../ui.js";
import { runEndpoint, useRequest, signIns } from "../../data/api.js";
import { Confirm } from "../../parts/dialog.js";
import { Empty, Loaded, Loading } from "../../parts/states.js";
import { go, Link, query, runPath, withQuery } from "../../router.js";
import { readOnly, settled } from "../../session.js";
import { GROUPS, fieldsOf } from "./config-fields.js";
import { ConfigForm, idOf } from "./config-form.js";
import { Draft } from "./draft.js";
import { DryRun } from "./dry-run.js";
import { PresetList } from "./preset-list.js";
import { PromptUpload } from "./prompt-upload.js";

/** @typedef {import("./draft.js").Source} Source */

const LONGEST = 100_000;

/** What to start from, as the address says. @returns {Source | null} */
function chosenSource() {
  for (const kind of /** @type {const} */ (["preset", "run", "fork"])) {
    const name = query.value.get(kind);
    if (name) return { kind, name };
  }
  return query.value.get("own") === null ? null : { kind: "own", name: "" };
}

export function Launch() {
  const source = chosenSource();
  const readOnlyReason = readOnly();
  if (!settled.value) return html`<div class="head"><h1>Launch a run</h1></div><${Loading} />`;
  if (readOnlyReason)
    return html`
      <div class="head"><h1>Launch a run</h1></div>
      <div class="card"><${Empty} title="This key cannot launch runs">${readOnlyReason}.<//></div>
    `;
  return source ? html`<${Editor} key=${`${source.kind} ${source.name}`} source=${source} />` : html`<${PresetList} />`;
}

/** @param {{source: Source}} props */
function Editor({ source }) {
  const parent = useRequest(source.kind === "fork" ? runEndpoint(source.name) : null);
  const run = /** @type {import("../../data/schema.d.ts").RunDetails | null} */ (parent.data);
  const newest = run ? Math.min(run.iteration, run.iterations - 1) : null;
  const at = query.value.get("at") === null ? newest : Number(query.value.get("at"));
  const draft = useMemo(() => new Draft(source, 0), []);
  const schema = useRequest("/v1/configs/schema");
  const asYaml = (query.value.get("as") ?? (source.kind === "own" ? "yaml" : "form")) === "yaml";
  const waits = source.kind === "fork" && at === null;
  useEffect(() => {
    if (waits) return undefined;
    draft.extras.value = { ...draft.extras.peek(), at: at ?? 0 };
    draft.check();
    return () => draft.end();
  }, [draft, signIns.value, at, waits]);
  const wrong = new Map(
    (draft.refused.value?.problem.errors ?? []).map((problem) => [
      problem.where.replace(/^config\./, ""),
      problem.expected,
    ]),
  );
  const loadedSchema = /** @type {Record<string, any> | null} */ (schema.data);
  const shown = (/** @type {string} */ key) =>
    Boolean(
      loadedSchema &&
      GROUPS.some((group) => fieldsOf(loadedSchema, group, draft.values.value).some((field) => field.key === key)),
    );
  const find = (/** @type {string} */ key) => {
    const inForm = shown(key);
    go(withQuery({ as: inForm ? "form" : "yaml" }));
    requestAnimationFrame(() => document.getElementById(inForm ? idOf(key) : "config-yaml")?.focus());
  };
  const title = source.kind === "fork" ? `Fork ${source.name}` : "Launch a run";
  return html`
    <div class="head">
      <h1>${title}</h1>
      <p class="lead">
        ${
          {
            preset: html`From the preset <strong>${source.name}</strong>.`,
            run: html`A new run with the config of <${Link} to=${runPath(source.name)}>${source.name}<//>.`,
            fork: html`
              Shares the history of <${Link} to=${runPath(source.name)}>${source.name}<//> up to the start of the
              iteration you choose.
            `,
            own: "From your own config.",
          }[source.kind]
        } <${Link} to="/launch">Start from something else<//>
      </p>
      <${Start} draft=${draft} />
    </div>
    ${
      parent.error && !run
        ? html`<${Loaded} request=${parent}>${() => null}<//>`
        : html`
          <div class="launch">
            <div class="stack">
              <${Toolbar} draft=${draft} asYaml=${asYaml} />
              ${source.kind === "fork" && run && html`<${ForkPoint} run=${run} at=${at ?? 0} />`}
              ${
                asYaml
                  ? html`<${Yaml} draft=${draft} />`
                  : html`
                    <${Loaded} request=${schema}>
                      ${(/** @type {Record<string, any>} */ all) => html`
                        <${ConfigForm} draft=${draft} schema=${all} wrong=${wrong} />
                      `}
                    <//>
                  `
              }
              <${TagsAndNote} draft=${draft} wrong=${wrong} />
            </div>
            <aside>
              <${DryRun} draft=${draft} shown=${shown} find=${find} />
            </aside>
          </div>
        `
    }
  `;
}

/** @param {{draft: Draft, asYaml: boolean}} props */
function Toolbar({ draft, asYaml }) {
  const [asking, setAsking] = useState(false);
  const open = async (/** @type {any} */ event) => {
    const file = event.currentTarget.files[0];
    event.currentTarget.value = "";
    if (file) draft.write((await file.text()).slice(0, LONGEST));
  };
  const startOver = () => {
    draft.forget();
    location.reload();
  };
  return html`
    <div class="buttons">
      <div class="buttons switch" role="group" aria-label="Edit the config as">
        ${[
          ["form", "Form"],
          ["yaml", "YAML"],
        ].map(
          ([name, shown]) => html`
            <button
              key=${name}
              type="button"
              class="button"
              aria-pressed=${asYaml === (name === "yaml")}
              onClick=${() => go(withQuery({ as: name }), { replace: true })}
            >
              ${shown}
            </button>
          `,
        )}
      </div>
      <span class="spring" />
      ${draft.source.kind !== "fork" && html`<${PromptUpload} draft=${draft} />`}
      <label class="button file">
        Open a config<input type="file" class="hidden-but-read" accept=".yaml,.yml,.json,text/plain" onChange=${open} />
      </label>
      ${
        draft.touched.value &&
        html`<button type="button" class="button" onClick=${() => setAsking(true)}>Start over</button>`
      }
      ${
        asking &&
        html`
          <${Confirm}
            title="Discard your changes?"
            yes="Discard"
            busy=${false}
            close=${() => setAsking(false)}
            go=${startOver}
          >
            <p>The config goes back to what it was before you edited it.</p>
          <//>
        `
      }
    </div>
  `;
}

/** @param {{run: import("../../data/schema.d.ts").RunDetails, at: number}} props */
function ForkPoint({ run, at }) {
  const choices = Array.from({ length: run.iteration + 1 }, (_, n) => n);
  return html`
    <section class="card">
      <div class="entry">
        <label for="fork-at">First iteration the fork plays itself</label>
        <select
          id="fork-at"
          aria-describedby="fork-at-hint"
          value=${at}
          onChange=${(/** @type {any} */ event) => go(withQuery({ at: event.currentTarget.value }), { replace: true })}
        >
          ${choices.map(
            (n) => html`
              <option key=${n} value=${n}>
                ${n}
                ${
                  n === 0
                    ? ": start over with the same prompts"
                    : n === run.iterations
                      ? ": continue after its end (set more iterations)"
                      : ""
                }
              </option>
            `,
          )}
        </select>
        <span id="fork-at-hint" class="hint">
          ${run.name} has played ${run.iteration} of ${run.iterations} iterations.
        </span>
      </div>
    </section>
  `;
}

/** @param {{draft: Draft}} props */
function Yaml({ draft }) {
  const broken = !draft.readable.value;
  return html`
    <section class="card yaml">
      <div class="field form">
        <label for="config-yaml">The whole config as YAML</label>
        <textarea
          id="config-yaml"
          spellcheck=${false}
          autocomplete="off"
          maxlength=${LONGEST}
          placeholder="prompts: {…}"
          value=${draft.text.value ?? ""}
          aria-invalid=${broken ? "true" : undefined}
          aria-describedby="config-yaml-hint"
          onInput=${(/** @type {any} */ event) => draft.write(event.currentTarget.value)}
        />
        <span id="config-yaml-hint" class=${broken ? "mistake" : "hint"}>
          ${
            broken
              ? draft.refused.value?.problem.given
              : "The form shows the same config. Keys you leave out keep their defaults; comments are preserved."
          }
        </span>
      </div>
    </section>
  `;
}

/** @param {{draft: Draft, wrong: Map<string, string>}} props */
function TagsAndNote({ draft, wrong }) {
  const { note, tags } = draft.extras.value;
  const bad = [...wrong].find(([key]) => key.startsWith("body.tags"))?.[1];
  return html`
    <section class="card form">
      <div class="field">
        <label for="launch-tags">Tags</label>
        <textarea
          id="launch-tags"
          rows="2"
          value=${tags}
          aria-describedby="launch-tags-hint"
          aria-invalid=${bad ? "true" : undefined}
          onInput=${(/** @type {any} */ event) => draft.say({ tags: event.currentTarget.value })}
        />
        <span id="launch-tags-hint" class=${bad ? "mistake" : "hint"}>${bad ?? "One per line."}</span>
      </div>
      <div class="field">
        <label for="launch-note">Note</label>
        <textarea
          id="launch-note"
          rows="3"
          maxlength="10000"
          value=${note}
          onInput=${(/** @type {any} */ event) => draft.say({ note: event.currentTarget.value })}
        />
      </div>
    </section>
  `;
}

/**
 * The button that launches: above the form, so that it is reached at once, and by Ctrl+Enter from everywhere in it.
 * @param {{draft: Draft}} props
 */
function Start({ draft }) {
  const [busy, setBusy] = useState(false);
  const why = busy
    ? "Launching"
    : draft.refused.value
      ? "Fix the problems first"
      : draft.busy.value
        ? "Checking"
        : draft.fresh.value
          ? null
          : "Enter a config first";
  const start = async () => {
    if (why) return;
    setBusy(true);
    const run = await draft.launch();
    if (run) go(runPath(run.name));
    else setBusy(false);
  };
  const latest = useRef(start);
  latest.current = start;
  useEffect(() => {
    const pressed = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      void latest.current();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  return html`
    <div class="start">
      <button
        type="button"
        class="button first"
        aria-disabled=${why ? "true" : undefined}
        aria-describedby="launch-why"
        aria-keyshortcuts="Control+Enter"
        onClick=${start}
      >
        ${draft.source.kind === "fork" ? "Launch the fork" : "Launch"}
      </button>
      <span id="launch-why" class="small soft" role="status">
        ${why ? `${why}.` : "The run goes to the end of the queue. Ctrl+Enter launches it from anywhere on this page."}
      </span>
    </div>
  `;
}
