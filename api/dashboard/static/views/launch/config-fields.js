// Which keys of a config the form shows, and what values each may have, according to the config's JSON schema.

/** @typedef {Record<string, any>} Schema */
/**
 * @typedef {{key: string, label: string, hint: string, kind: "number" | "text" | "choice" | "flag",
 *   choices: string[], absent: unknown, required: boolean}} Field
 */
/** @typedef {{title: string, keys?: string[], section?: string}} Group */

/**
 * The keys that most often differ between runs; all others are in the YAML. A section with several kinds shows the
 * keys of its kind.
 * @type {Group[]}
 */
export const GROUPS = [
  { title: "Run", keys: ["name", "iterations", "seed", "warm_start"] },
  { title: "Seed prompts", keys: ["prompts.path", "prompts.dataset", "prompts.playground", "prompts.limit"] },
  {
    title: "Model and responses",
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

/** Labels where the last part of a key says too little beside its group's title. @type {Record<string, string>} */
const LABELS = {
  "prompts.path": "prompt file",
  "prompts.playground": "playground prompts",
  "prompts.limit": "number of prompts",
  "model.path": "model",
  "generation.n": "responses per prompt",
  "sampling.fraction": "share sampled",
  "evolving.per_prompt": "children per prompt",
  "mixing.children": "children kept",
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
 * Resolves references and removes "or null"; what is written beside a reference is kept.
 * @param {Schema} schema
 * @param {Schema} node
 * @returns {Schema}
 */
function plain(schema, node) {
  if (node.$ref) {
    const { $ref: reference, ...rest } = node;
    return plain(schema, { ...schema.$defs[reference.split("/").pop()], ...rest });
  }
  const some = node.anyOf?.filter((/** @type {Schema} */ choice) => choice.type !== "null");
  if (some?.length === 1) {
    const { anyOf: _, ...rest } = node;
    return plain(schema, { ...some[0], ...rest });
  }
  return node;
}

/**
 * The schema of a section; where it has several kinds, that of the kind its values name.
 * @param {Schema} schema
 * @param {Schema} node
 * @param {any} values
 * @returns {Schema}
 */
function section(schema, node, values) {
  const whole = plain(schema, node);
  const kinds = whole.discriminator?.mapping;
  if (!kinds) return whole;
  const reference = kinds[values?.kind];
  const chosen = reference ? plain(schema, { $ref: reference }) : { properties: {}, required: [] };
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
 * @returns {Field | null} null: the form cannot show this key
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
  const parent = section(schema, node, here);
  if (!parent.properties?.[last]) return null;
  const leaf = plain(schema, parent.properties[last]);
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
      required: parent.required?.includes(last) ?? false,
    }
  );
}

/**
 * The fields of a group. A section with several kinds shows its kind, the keys it requires, and those that are set.
 * @param {Schema} schema
 * @param {Group} group
 * @param {any} values
 * @returns {Field[]}
 */
export function fieldsOf(schema, group, values) {
  let keys = group.keys ?? [];
  if (group.section) {
    const sectionValues = valueAt(values, group.section);
    const node = group.section.split(".").reduce((parent, part) => plain(schema, parent).properties[part], schema);
    const sectionSchema = section(schema, node, sectionValues);
    keys = [
      "kind",
      ...Object.keys(sectionSchema.properties).filter(
        (name) => name !== "kind" && (sectionSchema.required.includes(name) || sectionValues?.[name] !== undefined),
      ),
    ].map((name) => `${group.section}.${name}`);
  }
  return /** @type {Field[]} */ (keys.map((key) => fieldAt(schema, key, values)).filter(Boolean));
}
