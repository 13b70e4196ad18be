// The map of prompts: those with similar words lie together. A selected area leads to the table of its prompts.
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
 * The legend, and which of its colours each prompt has.
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
        Prompts that share words and word pairs lie close together. Where did the creator go, and what is left to learn
        there?
      </p>
    </div>
    ${
      request.loading &&
      !request.data &&
      html`<p class="soft" role="status">Drawing the map. This takes a few seconds, once per iteration.</p>`
    }
    <${Loaded} request=${whole.error ? whole : request}>
      ${(/** @type {PromptMap} */ map) =>
        map.numbers.length < 2
          ? html`<div class="card"><${Empty} title="Nothing to map yet">A map needs at least two prompts.<//></div>`
          : html`<${Body} run=${run} map=${map} />`}
    <//>
  `;
}

/** Reads an area from the address. @param {string | null} text @returns {Area | null} */
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
  const colourBy = WAYS.find(([name]) => name === query.value.get("by"))?.[0] ?? "born";
  const area = areaOf(query.value.get("area"));
  const paint = useMemo(() => paintBy(map, colourBy), [map, colourBy]);
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
  const colouring = WAYS.find(([name]) => name === colourBy)?.[1];
  const open = (/** @type {number} */ n) => go(runPath(run, "prompts", map.numbers[n]));
  return html`
    <div class="filters">
      <div class="buttons switch" role="group" aria-label="Colour by">
        ${WAYS.map(
          ([name, title]) => html`
            <button
              key=${name}
              class="button"
              aria-pressed=${name === colourBy}
              onClick=${() => go(withQuery({ by: name }), { replace: true })}
            >
              by ${title}
            </button>
          `,
        )}
      </div>
    </div>
    <${Figure}
      title="Prompts by wording"
      name=${`${run}-map-${colourBy}`}
      caption=${captionOf(map)}
      numbers=${() => numbersOf(map)}
      pixels=${true}
    >
      <${MapCanvas}
        label=${`${count(map.numbers.length)} prompts by similarity of wording, coloured by ${colouring}`}
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
                ${inside.length > 0 && html`<${Link} class="button first" to=${table}>Show as a table<//>`}
                <button class="button" onClick=${() => select(null)}>Clear</button>
              </div>
            `
            : html`
              <p class="soft">
                Drag to select an area, or click to open the nearest prompt. With the keyboard, <kbd>↑</kbd><kbd>↓</kbd>
                <kbd>←</kbd><kbd>→</kbd> on the map place and move an area, and with <kbd>Shift</kbd> resize
                it; <kbd>Enter</kbd> shows the table, <kbd>Esc</kbd> clears the selection.
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
    ? `A fixed sample of ${count(map.numbers.length)} of the ${count(map.prompts)} prompts made ` +
      `before iteration ${map.iteration}, the same number from each iteration. `
    : `All ${count(map.prompts)} prompts made before iteration ${map.iteration}. `) +
  "The axes have no meaning of their own.";

/** @param {PromptMap} map @param {number[]} inside */
function summaryOf(map, inside) {
  const infos = inside.map((n) => map.info[n]).filter((info) => info !== null);
  const born = inside.map((n) => map.born[n]);
  const sums = map.operators
    .map((name, index) => ({ name, count: inside.filter((n) => map.operator[n] === index).length }))
    .filter((operator) => operator.count)
    .sort((a, b) => b.count - a.count);
  const seeds = born.filter((iteration) => iteration < 0).length;
  const parts = [
    ...(seeds ? [`${count(seeds)} ${seeds === 1 ? "seed" : "seeds"}`] : []),
    ...sums.slice(0, 4).map((operator) => `${count(operator.count)} by ${operator.name}`),
  ];
  const newest = bornIn(born.reduce((a, b) => Math.max(a, b)));
  const mean = infos.length ? infos.reduce((a, b) => a + b, 0) / infos.length : null;
  return `${parts.join(", ")}; newest from ${newest}; mean info ${figure(mean)}`;
}

/** @param {PromptMap} map @param {string} colourBy @returns {Paint} */
function paintBy(map, colourBy) {
  if (colourBy === "operator") {
    return {
      of: map.operator.map((index) => (index === null ? 0 : index + 1)),
      keys: [
        { name: "seed", colour: "var(--c7)" },
        ...map.operators.map((name) => ({ name, colour: `var(${hueOf(name)})` })),
      ],
    };
  }
  return colourBy === "born" ? byBirth(map) : byInfo(map);
}

/** Colours by iteration, several of them together where there are many. @param {PromptMap} map @returns {Paint} */
function byBirth(map) {
  const births = [...new Set(map.born)].sort((a, b) => a - b);
  const steps = Math.min(STEPS, births.length);
  const step = (/** @type {number} */ born) => Math.floor((births.indexOf(born) * steps) / births.length);
  const groups = ramp(steps).map((colour, n) => ({ colour, births: births.filter((birth) => step(birth) === n) }));
  return {
    of: map.born.map(step),
    keys: groups.map(({ colour, births: all }) => ({
      colour,
      name: all.length > 1 ? `${bornIn(all[0])} to ${all[all.length - 1]}` : bornIn(all[0]),
    })),
  };
}

/** @param {PromptMap} map @returns {Paint} */
function byInfo(map) {
  const judged = /** @type {number[]} */ (map.info.filter((info) => info !== null));
  const low = judged.reduce((a, b) => Math.min(a, b), Infinity);
  const span = judged.reduce((a, b) => Math.max(a, b), -Infinity) - low || 1;
  const edge = (/** @type {number} */ n) => figure(low + (span * n) / STEPS);
  const keys = judged.length ? ramp(STEPS).map((colour, n) => ({ colour, name: `${edge(n)} to ${edge(n + 1)}` })) : [];
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

/** Explains what distance on the map means, and how far to trust it. @param {{map: PromptMap}} props */
function HowToRead({ map }) {
  const describe = (/** @type {import("../../data/schema.d.ts").Faithfulness} */ measure) =>
    `${percent(measure.share)} of the ${measure.neighbours} prompts most similar to a prompt are among its ` +
    `${measure.neighbours} nearest on the map; trustworthiness ${figure(measure.trustworthiness)}`;
  return html`
    <section class="card" aria-label="How to read the map">
      <header><h2>How to read the map</h2></header>
      <ul class="because">
        <li>
          Similarity counts shared words and word pairs, rare ones more (TF-IDF). It knows nothing of synonyms or
          meaning.
        </li>
        <li>
          Close together means similar. Far apart means little: the distances between clusters, their sizes and the axes
          carry no meaning.
        </li>
        <li>
          t-SNE places ${count(map.landmarks)} landmarks: the seeds, and prompts made up to
          iteration ${map.landmarks_until}. Every other prompt lies between the landmarks most similar to
          it. ${
            map.settled
              ? "Prompts stay where they are as the run grows."
              : `The map is redrawn with each iteration until iteration ${map.landmarks_until} is done; ` +
                `from then on, prompts stay where they are.`
          }
        </li>
        ${
          map.faithful &&
          html`
            <li>
              How faithful it is: ${describe(map.faithful)} (1 is perfect, about 0.5 is chance;
              over ${count(map.faithful.prompts)} prompts).
            </li>
          `
        }
        ${
          map.faithful_later &&
          html`<li>For later prompts, whose words the landmarks may lack: ${describe(map.faithful_later)}.</li>`
        }
      </ul>
    </section>
  `;
}
