// Which keys of a config the form shows, and what each may be, as the config's JSON schema says.

/** @typedef {Record<string, any>} Schema */
/**
 * @typedef {{key: string, label: string, hint: string, kind: "number" | "text" | "choice" | "flag",
 *   choices: string[], absent: unknown, required: boolean}} Field
 */
/** @typedef {{title: string, keys?: string[], section?: string}} Group */

/**
 * The keys that most runs differ in; every other one stands in the YAML. A section that is one of several shows its
 * own.
 * @type {Group[]}
 */
export const GROUPS = [
  { title: "Run", keys: ["name", "iterations", "seed", "warm_start"] },
  { title: "Seed prompts", keys: ["prompts.path", "prompts.dataset", "prompts.playground", "prompts.limit"] },
  {
    title: "Model and its answers",
    keys: ["model.path", "generation.n", "generation.temperature", "generation.top_p", "generation.max_tokens"],
  },
  { title: "Reward", section: "reward" },
  {
    title: "Creator",
    keys: [
      "informativeness.metric",
      "sampling.fraction",
      "sampling.sampler",
      "evolving.per_prompt",
      "mixing.children",
      "mixing.buffer",
      "info_from",
      "pool",
    ],
  },
  { title: "Evolver", section: "evolving.evolver" },
  {
    title: "Training",
    keys: [
      "training.enabled",
      "training.loss",
      "training.beta",
      "training.learning_rate",
      "training.epochs",
      "training.batch",
      "training.mode",
    ],
  },
  { title: "Held-out evaluation", keys: ["evaluation.playground", "evaluation.n", "evaluation.when"] },
  { title: "Machines", keys: ["fleet.engines", "fleet.gpus_per_engine", "training.devices"] },
];

/** Where the last part of a key does not say enough beside its group's title. @type {Record<string, string>} */
const LABELS = {
  "prompts.path": "file of prompts",
  "prompts.playground": "playground prompts",
  "prompts.limit": "first so many",
  "model.path": "model",
  "generation.n": "responses per prompt",
  "sampling.fraction": "sampled share",
  "evolving.per_prompt": "children per prompt",
  "mixing.children": "kept children",
  "mixing.buffer": "kept from the pool",
  "training.enabled": "train",
  "evaluation.playground": "playground prompts",
  "evaluation.n": "sampled responses",
  "evaluation.when": "evaluated policies",
  "fleet.gpus_per_engine": "GPUs per engine",
  "training.devices": "training devices",
};

/** @param {unknown} values @param {string} key @returns {any} */
export const valueAt = (values, key) =>
  key
    .split(".")
    .reduce(
      (/** @type {any} */ here, part) => (here !== null && typeof here === "object" ? here[part] : undefined),
      values,
    );

/**
 * A node without references and without "or null"; what stands beside a reference stays.
 * @param {Schema} schema
 * @param {Schema} node
 * @returns {Schema}
 */
function plain(schema, node) {
  if (node.$ref) {
    const { $ref: to, ...beside } = node;
    return plain(schema, { ...schema.$defs[to.split("/").pop()], ...beside });
  }
  const some = node.anyOf?.filter((/** @type {Schema} */ choice) => choice.type !== "null");
  if (some?.length === 1) {
    const { anyOf: _, ...beside } = node;
    return plain(schema, { ...some[0], ...beside });
  }
  return node;
}

/**
 * A section as its values have it: of several, the one of their kind.
 * @param {Schema} schema
 * @param {Schema} node
 * @param {any} values
 * @returns {Schema}
 */
function section(schema, node, values) {
  const whole = plain(schema, node);
  const kinds = whole.discriminator?.mapping;
  if (!kinds) return whole;
  const to = kinds[values?.kind];
  const chosen = to ? plain(schema, { $ref: to }) : { properties: {}, required: [] };
  return {
    ...chosen,
    properties: { ...chosen.properties, kind: { enum: Object.keys(kinds), description: whole.description } },
    required: ["kind", ...(chosen.required ?? [])],
  };
}

/**
 * @param {Schema} schema
 * @param {string} key
 * @param {any} values
 * @returns {Field | null} null: it is none that a form can show
 */
export function fieldAt(schema, key, values) {
  const parts = key.split(".");
  const last = /** @type {string} */ (parts.pop());
  let node = schema;
  let here = values;
  for (const part of parts) {
    node = section(schema, node, here).properties?.[part];
    if (!node) return null;
    here = here?.[part];
  }
  const of = section(schema, node, here);
  if (!of.properties?.[last]) return null;
  const leaf = plain(schema, of.properties[last]);
  const kind = leaf.enum
    ? "choice"
    : leaf.type === "boolean"
      ? "flag"
      : ["integer", "number"].includes(leaf.type)
        ? "number"
        : leaf.type === "string"
          ? "text"
          : null;
  return (
    kind && {
      key,
      label: LABELS[key] ?? last.replaceAll("_", " "),
      hint: leaf.description ?? "",
      kind,
      choices: leaf.enum ?? [],
      absent: leaf.default ?? null,
      required: of.required?.includes(last) ?? false,
    }
  );
}

/** The fields of a group: of a section that is one of several, its kind, what that needs, and what is given.
 * @param {Schema} schema @param {Group} group @param {any} values @returns {Field[]} */
export function fieldsOf(schema, group, values) {
  let keys = group.keys ?? [];
  if (group.section) {
    const values_ = valueAt(values, group.section);
    const node = group.section.split(".").reduce((parent, part) => plain(schema, parent).properties[part], schema);
    const of = section(schema, node, values_);
    keys = [
      "kind",
      ...Object.keys(of.properties).filter(
        (name) => name !== "kind" && (of.required.includes(name) || values_?.[name] !== undefined),
      ),
    ].map((name) => `${group.section}.${name}`);
  }
  return /** @type {Field[]} */ (keys.map((key) => fieldAt(schema, key, values)).filter(Boolean));
}
