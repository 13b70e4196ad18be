// Shows what changed between two texts, word by word.
import { html, useMemo } from "../ui.js";
import { diffWordsWithSpace } from "../vendor/diff-word.js";

const MOST_EDITS = 3000;

/** @param {{before: string, after: string}} props */
export function Difference({ before, after }) {
  const parts = useMemo(() => diffWordsWithSpace(before, after, { maxEditLength: MOST_EDITS }), [before, after]);
  if (!parts)
    return html`
      <pre class="text">${after}</pre>
      <p class="soft small">Too much has changed to show it word by word.</p>
    `;
  return html`
    <pre class="text">
      ${parts.map((part, n) =>
        part.added
          ? html`<ins key=${n}>${part.value}</ins>`
          : part.removed
            ? html`<del key=${n}>${part.value}</del>`
            : part.value,
      )}
    </pre>
  `;
}
