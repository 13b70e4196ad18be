// A field to search by. What is being typed is kept while the page refreshes around it.
import { html, useEffect, useState } from "../ui.js";

/** @param {{label: string, value: string, search: (text: string) => void, placeholder?: string}} props */
export function SearchField({ label, value, search, placeholder }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  return html`
    <label class="field">
      ${label}
      <input
        type="search"
        maxlength="200"
        value=${typed}
        placeholder=${placeholder}
        onInput=${(/** @type {any} */ event) => setTyped(event.currentTarget.value)}
        onChange=${(/** @type {any} */ event) => search(event.currentTarget.value)}
      />
    </label>
  `;
}
