// Map: prompts on a plane, near where their words are alike; an area of it leads to the table.
import { html, useMemo } from "../../ui.js";
import { hueOf, ramp } from "../../charts/colours.js";
import { Figure } from "../../charts/figure.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { useRun } from "../../data/live-run.js";
import { bornIn, count, figure, percent } from "../../parts/format.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, runPath, withQuery } from "../../router.js";
import { MapCanvas } from "./canvas.js";

/** @typedef {import("../../data/schema.d.ts").PromptMap} PromptMap */
/** @typedef {{left: number, low: number, right: number, high: number}} Area */
/**
 * Colours by name, and which of them each prompt has.
 * @typedef {{of: number[], keys: {name: string, colour: string}[]}} Paint
 */

const STEPS = 8;
/** @type {[string, string][]} */
const WAYS = [
  ["born", "iteration"],
  ["operator", "operator"],
  ["info", "informativeness"],
];

/** @param {{run: string}} props */
export function MapView({ run }) {
  const { run: details, request: whole } = useRun(run);
  const request = useRequest(details && runEndpoint(run, "map"), {}, details?.iteration);
  return html`
    <div class="head">
      <h1>Map</h1>
      <p class="lead">
        What prompts say, as nearness: those that share words and pairs of words lie together. Where did the creator go,
        and what is left to learn there?
      </p>
    </div>
    ${
      request.loading &&
      !request.data &&
      html`
        <p class="soft" role="status">The first time after an iteration, the map is drawn: this takes some seconds.</p>
      `
    }
    <${Loaded} request=${whole.error ? whole : request}>
      ${(/** @type {PromptMap} */ map) =>
        map.numbers.length < 2
          ? html`
            <div class="card"><${Empty} title="There is nothing to map yet">A map needs two prompts or more.<//></div>
          `
          : html`<${Body} run=${run} map=${map} />`}
    <//>
  `;
}

/** An area as it stands in an address. @param {string | null} text @returns {Area | null} */
export function areaOf(text) {
  const parts = (text ?? "").split(",").map(Number);
  return parts.length === 4 && parts.every((part) => part >= 0 && part <= 1)
    ? { left: parts[0], low: parts[1], right: parts[2], high: parts[3] }
    : null;
}

/** @param {Area} area */
export const areaText = ({ left, low, right, high }) =>
  [left, low, right, high].map((part) => Number(Math.min(1, Math.max(0, part)).toFixed(4))).join(",");

/** @param {{run: string, map: PromptMap}} props */
function Body({ run, map }) {
  const way = WAYS.find(([name]) => name === query.value.get("by"))?.[0] ?? "born";
  const area = areaOf(query.value.get("area"));
  const paint = useMemo(() => paintBy(map, way), [map, way]);
  const inside = useMemo(
    () =>
      area
        ? map.numbers.flatMap((_, n) =>
            map.x[n] >= area.left && map.x[n] <= area.right && map.y[n] >= area.low && map.y[n] <= area.high ? [n] : [],
          )
        : [],
    [map, query.value.get("area")],
  );
  const select = (/** @type {Area | null} */ next) =>
    go(withQuery({ area: next && areaText(next) }), { replace: true });
  const table = area && `${runPath(run, "prompts")}?area=${areaText(area)}`;
  const colouring = WAYS.find(([name]) => name === way)?.[1];
  const open = (/** @type {number} */ n) => go(runPath(run, "prompts", map.numbers[n]));
  return html`
    <div class="filters">
      <div class="buttons switch" role="group" aria-label="Coloured by">
        ${WAYS.map(
          ([name, title]) => html`
            <button
              key=${name}
              class="button"
              aria-pressed=${name === way}
              onClick=${() => go(withQuery({ by: name }), { replace: true })}
            >
              by ${title}
            </button>
          `,
        )}
      </div>
    </div>
    <${Figure}
      title="Prompts by what they say"
      name=${`${run}-map-${way}`}
      says=${captionOf(map)}
      numbers=${() => numbersOf(map)}
    >
      <${MapCanvas}
        label=${`${count(map.numbers.length)} prompts by similarity of their words, coloured by ${colouring}`}
        map=${map}
        paint=${paint}
        area=${area}
        select=${select}
        open=${open}
        enter=${() => {
          if (table && inside.length) go(table);
        }}
      />
      <ul class="legend">
        ${paint.keys.map(
          (key) => html`<li key=${key.name}><span class="key box" style=${{ "--hue": key.colour }} />${key.name}</li>`,
        )}
      </ul>
    <//>
    <div class="stack below">
      <section class="card selection" aria-label="Selection" aria-live="polite">
        ${
          area
            ? html`
              <p>
                <strong>${count(inside.length)} prompts</strong> in the
                area${inside.length ? `: ${summaryOf(map, inside)}` : ""}.
              </p>
              <div class="buttons">
                ${inside.length > 0 && html`<${Link} class="button first" to=${table}>Show them as a table<//>`}
                <button class="button" onClick=${() => select(null)}>Clear</button>
              </div>
            `
            : html`
              <p class="soft">
                Drag over an area to select its prompts; a click opens the prompt that is nearest. By
                keyboard: <kbd>↑</kbd><kbd>↓</kbd><kbd>←</kbd><kbd>→</kbd> on the map place and move an area,
                with <kbd>Shift</kbd> they change its size, <kbd>Enter</kbd> shows the table, <kbd>Esc</kbd> clears.
              </p>
            `
        }
      </section>
      <${HowToRead} map=${map} />
    </div>
  `;
}

/** @param {PromptMap} map */
const captionOf = (map) =>
  (map.numbers.length < map.prompts
    ? `${count(map.numbers.length)} of ${count(map.prompts)} prompts, ` +
      `as many of each iteration; always the same ones`
    : `All ${count(map.prompts)} prompts`) +
  ` that were made before iteration ${map.iteration}. The axes have no meaning of their own.`;

/** @param {PromptMap} map @param {number[]} inside */
function summaryOf(map, inside) {
  const infos = inside.map((n) => map.info[n]).filter((info) => info !== null);
  const born = inside.map((n) => map.born[n]);
  const sums = map.operators
    .map((name, place) => ({ name, count: inside.filter((n) => map.operator[n] === place).length }))
    .filter((operator) => operator.count)
    .sort((a, b) => b.count - a.count);
  const seeds = born.filter((iteration) => iteration < 0).length;
  const parts = [
    ...(seeds ? [`${count(seeds)} ${seeds === 1 ? "seed" : "seeds"}`] : []),
    ...sums.slice(0, 4).map((operator) => `${count(operator.count)} by ${operator.name}`),
  ];
  const newest = bornIn(born.reduce((a, b) => Math.max(a, b)));
  const mean = infos.length ? infos.reduce((a, b) => a + b, 0) / infos.length : null;
  return `${parts.join(", ")}; newest of ${newest}; mean info ${figure(mean)}`;
}

/** @param {PromptMap} map @param {string} way @returns {Paint} */
function paintBy(map, way) {
  if (way === "operator") {
    return {
      of: map.operator.map((place) => (place === null ? 0 : place + 1)),
      keys: [
        { name: "seed", colour: "var(--c7)" },
        ...map.operators.map((name) => ({ name, colour: `var(${hueOf(name)})` })),
      ],
    };
  }
  return way === "born" ? byBirth(map) : byInfo(map);
}

/** Iterations one by one while they are few, else several together. @param {PromptMap} map @returns {Paint} */
function byBirth(map) {
  const births = [...new Set(map.born)].sort((a, b) => a - b);
  const steps = Math.min(STEPS, births.length);
  const step = (/** @type {number} */ born) => Math.floor((births.indexOf(born) * steps) / births.length);
  const of = ramp(steps).map((colour, n) => ({ colour, births: births.filter((birth) => step(birth) === n) }));
  return {
    of: map.born.map(step),
    keys: of.map(({ colour, births: all }) => ({
      colour,
      name: all.length > 1 ? `${bornIn(all[0])} to ${all[all.length - 1]}` : bornIn(all[0]),
    })),
  };
}

/** @param {PromptMap} map @returns {Paint} */
function byInfo(map) {
  const known = /** @type {number[]} */ (map.info.filter((info) => info !== null));
  const low = known.reduce((a, b) => Math.min(a, b), Infinity);
  const span = known.reduce((a, b) => Math.max(a, b), -Infinity) - low || 1;
  const edge = (/** @type {number} */ n) => figure(low + (span * n) / STEPS);
  const keys = known.length ? ramp(STEPS).map((colour, n) => ({ colour, name: `${edge(n)} to ${edge(n + 1)}` })) : [];
  const lacking = map.info.includes(null) ? [{ name: "not judged", colour: "var(--c7)" }] : [];
  return {
    of: map.info.map((info) =>
      info === null ? keys.length : Math.min(STEPS - 1, Math.floor((STEPS * (info - low)) / span)),
    ),
    keys: [...keys, ...lacking],
  };
}

/** @param {PromptMap} map */
const numbersOf = (map) => ({
  columns: [
    "prompt",
    "x (0 to 1)",
    "y (0 to 1)",
    "made in",
    "operator",
    "info when first judged",
    "beginning of the text",
  ],
  rows: map.numbers.map((number, n) => [
    String(number),
    map.x[n],
    map.y[n],
    bornIn(map.born[n]),
    map.operator[n] === null ? "seed" : map.operators[Number(map.operator[n])],
    map.info[n],
    map.starts[n],
  ]),
});

/** What distance means here, and how far it is to be trusted. @param {{map: PromptMap}} props */
function HowToRead({ map }) {
  const says = (/** @type {import("../../data/schema.d.ts").Faithfulness} */ measure) =>
    `${percent(measure.share)} of a prompt's ${measure.neighbours} most alike texts ` +
    `are among its ${measure.neighbours} nearest here, ` +
    `trustworthiness ${figure(measure.trustworthiness)}`;
  return html`
    <section class="card" aria-label="How to read it">
      <header><h2>How to read it</h2></header>
      <ul class="because">
        <li>
          Likeness is that of words and pairs of words, rare ones counting more (TF-IDF); synonyms and meanings are not
          seen.
        </li>
        <li>Near means alike. Far means little: distances between clusters, their sizes and the axes say nothing.</li>
        <li>
          ${count(map.landmarks)} prompts (seeds, and those made up to iteration ${map.landmarks_until}) are laid out by
          t-SNE; every other lies between the landmarks that are most like
          it. ${
            map.settled
              ? "No prompt moves when the run grows."
              : `Until iteration ${map.landmarks_until} is over the map is drawn anew with each iteration; ` +
                `then no prompt moves any more.`
          }
        </li>
        ${
          map.faithful &&
          html`
            <li>
              How much is kept: ${says(map.faithful)} (1 is perfect, about 0.5 chance;
              over ${count(map.faithful.prompts)} prompts).
            </li>
          `
        }
        ${
          map.faithful_later &&
          html`<li>Among later prompts, which use words that the landmarks may lack: ${says(map.faithful_later)}.</li>`
        }
      </ul>
    </section>
  `;
}
