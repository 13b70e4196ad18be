// The header of a column that sorts a table through the address.
import { html } from "../ui.js";
import { Link, withQuery } from "../router.js";

/**
 * The first click sorts in the column's usual order, the next in reverse.
 * @param {{name: string, title: string, sort: string, first: string, number?: boolean, hint?: string,
 *   column?: string}} props
 */
export function Sorted({ name, title, sort, first, number, hint, column }) {
  const falling = sort.startsWith("-");
  const active = (falling ? sort.slice(1) : sort) === name;
  return html`
    <th
      scope="col"
      class=${number ? "number" : ""}
      data-column=${column}
      aria-sort=${active ? (falling ? "descending" : "ascending") : undefined}
    >
      <${Link} to=${withQuery({ sort: active ? (falling ? name : `-${name}`) : first, cursor: null })} title=${hint}>
        ${title}${active ? (falling ? "\u00a0↓" : "\u00a0↑") : ""}
      <//>
    </th>
  `;
}
