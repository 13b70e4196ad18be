// What a launch can start from: presets, with what they need and whether it is here, or a config of one's own.
import { html } from "../../ui.js";
import { useRequest } from "../../data/api.js";
import { TextWithCode } from "../../parts/labels.js";
import { Loaded } from "../../parts/states.js";
import { Link } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").Preset} Preset */
/** @typedef {import("../../data/schema.d.ts").Presets} Presets */
/** @typedef {import("../../data/schema.d.ts").RunPage} RunPage */

const PLAYGROUND = "playground";

export function PresetList() {
  const presets = useRequest("/v1/presets");
  const runs = useRequest("/v1/runs", { limit: 1 });
  const firstTime = /** @type {RunPage | null} */ (runs.data)?.items.length === 0;
  return html`
    <div class="head">
      <h1>Launch a run</h1>
      <p class="lead">
        ${
          firstTime
            ? "You have not played yet: begin with the playground, which needs nothing but this machine. "
            : "Choose what to start from. "
        }
        You will see how long it takes and what it costs before anything runs. To start from an existing run, open it
        and choose “New from this”, or “Fork” to share its history.
      </p>
    </div>
    <${Loaded} request=${presets}>
      ${(/** @type {Presets} */ page) => html`
        <p class="soft small">
          ${
            page.machines === null
              ? "Runs play on a cluster that is asked when they start: whether a preset fits it, eva doctor says."
              : `Runs play on ${page.machines}.`
          }
        </p>
        <div class="presets">
          ${[...page.items]
            .sort(byFit)
            .map((preset) => html`<${PresetCard} key=${preset.name} preset=${preset} first=${firstTime} />`)}
          <${Link} class="card preset" to="/launch?own=1">
            <h2>Your own config</h2>
            <p class="soft">Paste YAML, or open a file.</p>
          <//>
        </div>
      `}
    <//>
  `;
}

/** The playground first, then what fits, then the rest by the GPUs that it uses. @param {Preset} a @param {Preset} b */
const byFit = (a, b) =>
  Number(b.name === PLAYGROUND) - Number(a.name === PLAYGROUND) ||
  Number(a.lacks !== null) - Number(b.lacks !== null) ||
  a.gpus - b.gpus ||
  a.name.localeCompare(b.name);

/** @param {{preset: Preset, first: boolean}} props */
const PresetCard = ({ preset, first }) => html`
  <${Link} class="card preset" to=${`/launch?preset=${encodeURIComponent(preset.name)}`}>
    <h2>${preset.name}${
      first && preset.name === PLAYGROUND && html`${" "}<span class="tag trained">start here</span>`
    }</h2>
    <p><${TextWithCode} text=${preset.summary} /></p>
    <p class="soft small">Needs: ${preset.needs}</p>
    ${preset.lacks && html`<p class="small lacks">${preset.lacks}.</p>`}
    <p class="small soft"><code>${preset.model}</code> · ${preset.loss}</p>
  <//>
`;
