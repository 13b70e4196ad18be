// What stands below a list in pages: how many it has on all of them, and the ways to the others.
import { html } from "../ui.js";
import { Link, query, withQuery } from "../router.js";
import { count } from "./format.js";

/**
 * `noun` is the plural of what is listed.
 * @param {{page: {total: number | null, items: unknown[], next: string | null}, noun: string}} props
 */
export function Pager({ page, noun }) {
  const { total, items, next } = page;
  const all = total === null ? "more than 100,000" : count(total);
  const one = total === 1 ? noun.replace(/ies$/, "y").replace(/s$/, "") : noun;
  const cursor = query.value.get("cursor");
  return html`
    <p class="buttons pager">
      <span class="soft small">
        ${next || cursor ? `Showing ${count(items.length)} of ${all} ${noun}` : `${all} ${one}`}
      </span>
      ${cursor && html`<${Link} class="button" to=${withQuery({ cursor: null })}>First page<//>`}
      ${next && html`<${Link} class="button" to=${withQuery({ cursor: next })}>Next ${items.length}<//>`}
    </p>
  `;
}
