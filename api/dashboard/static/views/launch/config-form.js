// The form: the most important keys of a config as labelled inputs, each with its hint or its error below.
import { html } from "../../ui.js";
import { TextWithCode } from "../../parts/labels.js";
import { fieldsOf, GROUPS, valueAt } from "./config-fields.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./config-fields.js").Field} Field */

/** @param {string} key */
export const idOf = (key) => `config-${key}`;

/** @param {{draft: Draft, schema: Record<string, any>, wrong: Map<string, string>}} props */
export function ConfigForm({ draft, schema, wrong }) {
  const values = draft.values.value ?? {};
  return html`
    <form
      class="stack"
      onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}
      aria-label="Most important keys of the config"
    >
      ${GROUPS.map(
        (group) => html`
          <section class="card" key=${group.title}>
            <fieldset disabled=${!draft.readable.value}>
              <legend>${group.title}</legend>
              <div class="entries">
                ${fieldsOf(schema, group, values).map(
                  (field) => html`
                    <${Entry}
                      key=${field.key}
                      field=${field}
                      draft=${draft}
                      values=${values}
                      wrong=${wrong.get(field.key)}
                    />
                  `,
                )}
              </div>
            </fieldset>
          </section>
        `,
      )}
    </form>
  `;
}

/** @param {{field: Field, draft: Draft, values: Record<string, any>, wrong: string | undefined}} props */
function Entry({ field, draft, values, wrong }) {
  const { key, label, hint, kind } = field;
  const pending = draft.pending.value;
  const current = key in pending ? pending[key] : valueAt(values, key);
  const value = current ?? field.absent;
  const id = idOf(key);
  const attributes = { id, "aria-describedby": `${id}-hint`, "aria-invalid": wrong ? "true" : undefined };
  const set = (/** @type {unknown} */ next) => draft.set(...changed(key, next));
  const typed = (/** @type {any} */ event) => set(parsed(field, event.currentTarget.value));
  const input =
    kind === "flag"
      ? html`
        <label class="check" for=${id}>
          <input
            ...${attributes}
            type="checkbox"
            checked=${Boolean(value)}
            onChange=${(/** @type {any} */ event) => set(event.currentTarget.checked)}
          />
          <span>${label}<${Key} field=${field} /></span>
        </label>
      `
      : kind === "choice"
        ? html`
          <select ...${attributes} value=${value ?? ""} onChange=${typed}>
            ${
              value === null || !field.choices.includes(String(value))
                ? html`<option value=${value ?? ""}>${value ?? "choose"}</option>`
                : null
            }
            ${field.choices.map((choice) => html`<option key=${choice} value=${choice}>${choice}</option>`)}
          </select>
        `
        : html`
          <input
            ...${attributes}
            value=${value === null ? "" : String(value)}
            placeholder=${field.required ? "required" : "not set"}
            inputmode=${kind === "number" ? "decimal" : undefined}
            spellcheck=${false}
            autocomplete="off"
            onInput=${typed}
          />
        `;
  return html`
    <div class="entry">
      ${kind !== "flag" && html`<label for=${id}>${label}<${Key} field=${field} /></label>`}
      ${input}
      <span id=${`${id}-hint`} class=${wrong ? "mistake" : "hint"}>
        ${wrong ?? html`<${TextWithCode} text=${hint} />`}
      </span>
    </div>
  `;
}

/** The key as written in YAML, where it differs from the label. @param {{field: Field}} props */
const Key = ({ field: { key, label } }) => (key === label.replaceAll(" ", "_") ? null : html` <code>${key}</code>`);

/**
 * Parses an input: a number where the field is numeric and the text is one, null where the input is empty.
 * @param {Field} field
 * @param {string} text
 */
function parsed(field, text) {
  if (text.trim() === "") return null;
  return field.kind === "number" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/**
 * The change to make: a section whose kind changes has other keys, so it starts empty.
 * @param {string} key
 * @param {unknown} value
 * @returns {[string, unknown]}
 */
const changed = (key, value) => (key.endsWith(".kind") ? [key.slice(0, -5), { kind: value }] : [key, value]);
