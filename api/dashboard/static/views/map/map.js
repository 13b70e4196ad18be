// Map: prompts on a plane, near where their words are alike; an area of it leads to the table.
import { html, useMemo } from "../../ui.js";
import { hueOf, ramp } from "../../charts/colours.js";
import { Figure } from "../../charts/figure.js";
import { ofRun, useAsked } from "../../data/api.js";
import { useRun } from "../../data/live-run.js";
import { bornIn, count, figure, percent } from "../../parts/format.js";
import { Empty, Shown } from "../../parts/states.js";
import { go, Link, query, runPath, where } from "../../router.js";
import { Plane } from "./canvas.js";

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
  const { run: details, asked: whole } = useRun(run);
  const asked = useAsked(details && ofRun(run, "map"), {}, details?.iteration);
  return html`
    <div class="head">
      <h1>Map</h1>
      <p class="lead">
        What prompts say, as nearness: those that share words and pairs of words lie together. Where did the creator go,
        and what is left to learn there?
      </p>
    </div>
    ${
      asked.loading &&
      !asked.data &&
      html`
        <p class="soft" role="status">The first time after an iteration, the map is drawn: this takes some seconds.</p>
      `
    }
    <${Shown} asked=${whole.error ? whole : asked}>
      ${(/** @type {PromptMap} */ found) =>
        found.numbers.length < 2
          ? html`
            <div class="card"><${Empty} title="There is nothing to map yet">A map needs two prompts or more.<//></div>
          `
          : html`<${Body} run=${run} found=${found} />`}
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

/** @param {{run: string, found: PromptMap}} props */
function Body({ run, found }) {
  const way = WAYS.find(([name]) => name === query.value.get("by"))?.[0] ?? "born";
  const area = areaOf(query.value.get("area"));
  const paint = useMemo(() => painted(found, way), [found, way]);
  const inside = useMemo(
    () =>
      area
        ? found.numbers.flatMap((_, n) =>
            found.x[n] >= area.left && found.x[n] <= area.right && found.y[n] >= area.low && found.y[n] <= area.high
              ? [n]
              : [],
          )
        : [],
    [found, query.value.get("area")],
  );
  const select = (/** @type {Area | null} */ next) => go(where({ area: next && areaText(next) }), { replace: true });
  const table = area && `${runPath(run, "prompts")}?area=${areaText(area)}`;
  const colouring = WAYS.find(([name]) => name === way)?.[1];
  const open = (/** @type {number} */ n) => go(runPath(run, "prompts", found.numbers[n]));
  return html`
    <div class="filters">
      <div class="buttons switch" role="group" aria-label="Coloured by">
        ${WAYS.map(
          ([name, title]) => html`
            <button
              key=${name}
              class="button"
              aria-pressed=${name === way}
              onClick=${() => go(where({ by: name }), { replace: true })}
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
      says=${extentOf(found)}
      numbers=${() => numbersOf(found)}
    >
      <${Plane}
        label=${`${count(found.numbers.length)} prompts by similarity of their words, coloured by ${colouring}`}
        found=${found}
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
                area${inside.length ? `: ${told(found, inside)}` : ""}.
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
      <${Faith} found=${found} />
    </div>
  `;
}

/** @param {PromptMap} found */
const extentOf = (found) =>
  (found.numbers.length < found.prompts
    ? `${count(found.numbers.length)} of ${count(found.prompts)} prompts, ` +
      `as many of each iteration; always the same ones`
    : `All ${count(found.prompts)} prompts`) +
  ` that were made before iteration ${found.iteration}. The axes have no meaning of their own.`;

/** @param {PromptMap} found @param {number[]} inside */
function told(found, inside) {
  const infos = inside.map((n) => found.info[n]).filter((info) => info !== null);
  const born = inside.map((n) => found.born[n]);
  const sums = found.operators
    .map((name, place) => ({ name, count: inside.filter((n) => found.operator[n] === place).length }))
    .filter((one) => one.count)
    .sort((a, b) => b.count - a.count);
  const seeds = born.filter((one) => one < 0).length;
  const parts = [
    ...(seeds ? [`${count(seeds)} ${seeds === 1 ? "seed" : "seeds"}`] : []),
    ...sums.slice(0, 4).map((one) => `${count(one.count)} by ${one.name}`),
  ];
  const newest = bornIn(born.reduce((a, b) => Math.max(a, b)));
  const mean = infos.length ? infos.reduce((a, b) => a + b, 0) / infos.length : null;
  return `${parts.join(", ")}; newest of ${newest}; mean info ${figure(mean)}`;
}

/** @param {PromptMap} found @param {string} way @returns {Paint} */
function painted(found, way) {
  if (way === "operator") {
    return {
      of: found.operator.map((place) => (place === null ? 0 : place + 1)),
      keys: [
        { name: "seed", colour: "var(--c7)" },
        ...found.operators.map((name) => ({ name, colour: `var(${hueOf(name)})` })),
      ],
    };
  }
  return way === "born" ? byBirth(found) : byInfo(found);
}

/** Iterations one by one while they are few, else several together. @param {PromptMap} found @returns {Paint} */
function byBirth(found) {
  const births = [...new Set(found.born)].sort((a, b) => a - b);
  const steps = Math.min(STEPS, births.length);
  const step = (/** @type {number} */ born) => Math.floor((births.indexOf(born) * steps) / births.length);
  const of = ramp(steps).map((colour, n) => ({ colour, births: births.filter((one) => step(one) === n) }));
  return {
    of: found.born.map(step),
    keys: of.map(({ colour, births: all }) => ({
      colour,
      name: all.length > 1 ? `${bornIn(all[0])} to ${all[all.length - 1]}` : bornIn(all[0]),
    })),
  };
}

/** @param {PromptMap} found @returns {Paint} */
function byInfo(found) {
  const known = /** @type {number[]} */ (found.info.filter((info) => info !== null));
  const low = known.reduce((a, b) => Math.min(a, b), Infinity);
  const span = known.reduce((a, b) => Math.max(a, b), -Infinity) - low || 1;
  const edge = (/** @type {number} */ n) => figure(low + (span * n) / STEPS);
  const keys = known.length ? ramp(STEPS).map((colour, n) => ({ colour, name: `${edge(n)} to ${edge(n + 1)}` })) : [];
  const lacking = found.info.includes(null) ? [{ name: "not judged", colour: "var(--c7)" }] : [];
  return {
    of: found.info.map((info) =>
      info === null ? keys.length : Math.min(STEPS - 1, Math.floor((STEPS * (info - low)) / span)),
    ),
    keys: [...keys, ...lacking],
  };
}

/** @param {PromptMap} found */
const numbersOf = (found) => ({
  columns: [
    "prompt",
    "x (0 to 1)",
    "y (0 to 1)",
    "made in",
    "operator",
    "info when first judged",
    "beginning of the text",
  ],
  rows: found.numbers.map((number, n) => [
    String(number),
    found.x[n],
    found.y[n],
    bornIn(found.born[n]),
    found.operator[n] === null ? "seed" : found.operators[Number(found.operator[n])],
    found.info[n],
    found.starts[n],
  ]),
});

/** What distance means here, and how far it is to be trusted. @param {{found: PromptMap}} props */
function Faith({ found }) {
  const says = (/** @type {import("../../data/schema.d.ts").Faithfulness} */ one) =>
    `${percent(one.share)} of a prompt's ${one.neighbours} most alike texts ` +
    `are among its ${one.neighbours} nearest here, ` +
    `trustworthiness ${figure(one.trustworthiness)}`;
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
          ${count(found.landmarks)} prompts (seeds, and those made up to iteration ${found.landmarks_until}) are laid
          out by t-SNE; every other lies between the landmarks that are most like
          it. ${
            found.settled
              ? "No prompt moves when the run grows."
              : `Until iteration ${found.landmarks_until} is over the map is drawn anew with each iteration; ` +
                `then no prompt moves any more.`
          }
        </li>
        ${
          found.faithful &&
          html`
            <li>
              How much is kept: ${says(found.faithful)} (1 is perfect, about 0.5 chance;
              over ${count(found.faithful.prompts)} prompts).
            </li>
          `
        }
        ${
          found.faithful_later &&
          html`
            <li>Among later prompts, which use words that the landmarks may lack: ${says(found.faithful_later)}.</li>
          `
        }
      </ul>
    </section>
  `;
}
