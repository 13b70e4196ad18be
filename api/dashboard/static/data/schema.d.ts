// Made by `make dashboard-types` from the API's OpenAPI document.

export interface Advantage {
  iteration: number;
  checkpoint: number;
  sample: number;
  advantage: number | null;
  reason: string | null;
}

export interface Alive {
  status: string;
}

export interface ArmPoint {
  iteration: number;
  outcome: StudyInterval;
}

export interface ArmUse {
  arm: string;
  least: number;
  most: number;
}

export interface ChangedKey {
  key: string;
  before: any;
  after: any;
}

export interface Checkpoint {
  player: "solver" | "creator";
  number: number;
  iteration: number;
  parent: number | null;
  folder: string | null;
  address: string | null;
  digest: string;
  steps: number | null;
  loss: number | null;
  margin: number | null;
  dropped: Record<string, number>;
  bytes: number | null;
  created_at: string;
  pruned_at: string | null;
}

export interface CheckpointDetails {
  player: "solver" | "creator";
  number: number;
  iteration: number;
  parent: number | null;
  folder: string | null;
  address: string | null;
  digest: string;
  steps: number | null;
  loss: number | null;
  margin: number | null;
  dropped: Record<string, number>;
  bytes: number | null;
  created_at: string;
  pruned_at: string | null;
  files: File[] | null;
}

export interface Checkpoints {
  items: Checkpoint[];
}

export interface ComparedRun {
  name: string;
  status: string;
  seed: number;
  shared: number;
  curve: CurvePoint[];
  heldout: HeldoutPoint[];
}

export interface Comparison {
  runs: ComparedRun[];
  config: ConfigDifference[];
  paired: Paired[];
}

export interface ConfigDifference {
  key: string;
  values: any[];
}

export interface ConfigText {
  text: string;
  config: Record<string, any>;
}

export interface CreatorIteration {
  iteration: number;
  replies: number;
  accepted: number;
  children: number;
  judged: number;
  trained: number;
  regret: number | null;
  likeness: number | null;
  reward: number | null;
  spread: number | null;
}

export interface CreatorIterations {
  items: CreatorIteration[];
}

export interface Curve {
  run: string;
  points: Point[];
}

export interface CurvePoint {
  iteration: number;
  seconds: number;
  gpu_seconds: number;
  tokens: number | null;
  reward_mean: number | null;
  reward_best: number | null;
  info_mean: number | null;
  effective_roots: number | null;
}

export interface Curves {
  items: Curve[];
}

export interface Deliveries {
  items: Delivery[];
}

export interface Delivery {
  id: string;
  topic: string;
  run: string | null;
  state: "waiting" | "delivered" | "given_up";
  attempts: number;
  status: number | null;
  error: string | null;
  created_at: string;
  next_at: string | null;
  finished_at: string | null;
}

export interface Difference {
  number: number;
  against: number;
  operator: string | null;
  stretches: Stretch[];
  truncated: boolean;
}

export interface DifferingKey {
  key: string;
  values: number;
}

export interface DifferingKeys {
  items: DifferingKey[];
}

export interface Draft {
  text: string | null;
  preset: string | null;
  run: string | null;
  changes: Record<string, any>;
}

export interface EarlierResponse {
  text: string;
  finish: string;
  tokens: number;
  reward: number | null;
  reason: string | null;
}

export interface Event {
  seq: number;
  at: string;
  kind: string;
  iteration: number | null;
  stage: string | null;
  data: Record<string, any>;
}

export interface EventPage {
  items: Event[];
  last: number;
}

export interface ExploratoryDifference {
  difference: StudyInterval;
  p: number;
  p_is_exact: boolean;
  figure: string;
  first: string;
  second: string;
}

export interface Export {
  id: number;
  kind: ExportKind;
  format: ExportFormat;
  status: "waiting" | "running" | "done" | "failed";
  rows: number | null;
  bytes: number | null;
  error: string | null;
  created_at: string;
  finished_at: string | null;
  expires_at: string | null;
}

export type ExportFormat = "jsonl" | "parquet";

export type ExportKind = "pairs" | "prompts" | "responses" | "judged" | "heldout" | "rollouts";

export interface ExportRequest {
  kind: ExportKind;
  format: ExportFormat;
}

export interface Exports {
  items: Export[];
}

export interface Faithfulness {
  prompts: number;
  neighbours: number;
  share: number;
  trustworthiness: number;
}

export interface FieldProblem {
  where: string;
  expected: string;
  given: string;
}

export interface File {
  path: string;
  size: number;
  sha256: string;
}

export interface ForkRehearsal {
  config: Record<string, any>;
  changes: ChangedKey[];
  checks: string[];
}

export interface ForkedFrom {
  run: string;
  iteration: number;
}

export interface HeldoutOverlap {
  heldout: number;
  trained_on: number;
  equal: number;
  near: number;
  similarity: number;
  examples: string[][];
}

export interface HeldoutPage {
  splits: string[];
  policies: number[];
  success: number;
  shown: number[];
  total: number | null;
  items: HeldoutPrompt[];
  next: string | null;
}

export interface HeldoutPoint {
  checkpoint: number;
  seconds: number;
  split: string;
  mode: string;
  responses: number;
  accuracy: number | null;
  reward_mean: number | null;
}

export interface HeldoutPrompt {
  split: string;
  item: number;
  text: string;
  context: Message[];
  turn: number;
  reference: string | null;
  responses: HeldoutResponse[];
}

export interface HeldoutResponse {
  checkpoint: number;
  sample: number;
  text: string;
  finish: string;
  tokens: number;
  reward: number | null;
  reason: string | null;
  earlier: EarlierResponse[];
}

export interface Holder {
  host: string;
  pid: number | null;
}

export interface Inequality {
  quantity: string;
  first: number;
  second: number;
}

export interface Iteration {
  number: number;
  status: "done" | "open";
  seconds: number;
  children: number | null;
  buffer: number | null;
  pairs: number | null;
  responses: number | null;
  stages: Stage[];
}

export interface Iterations {
  items: Iteration[];
}

export interface Key {
  key: string;
  name: string;
  scope: "read" | "write" | "admin";
  live: boolean;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
}

export interface KeyRequest {
  name: string;
  scope: "read" | "write" | "admin";
  days: number | null;
}

export interface Keys {
  items: Key[];
}

export interface Launch {
  state: "queued" | "taken" | "submitted" | "ended";
  ahead: number | null;
  attempt: number;
  job: string | null;
  restarts: number;
  restarted: number;
  message: string | null;
}

export interface Lineage {
  context: Message[];
  prompt: Relative;
  ancestors: Relative[];
  descendants: Relative[];
  truncated: boolean;
}

export interface ListedPrompt {
  number: number;
  text: string;
  parent: number | null;
  root: number;
  operator: string | null;
  depth: number;
  born: number;
  topic: string | null;
  reference: string | null;
  likeness: number | null;
  guide: number | null;
  iteration: number | null;
  info: number | null;
  checkpoint: number | null;
  reward: number | null;
  margin: number | null;
  length: number | null;
  correlation: number | null;
  vote: number | null;
  success: number | null;
  answer: string | null;
  gain: number | null;
  children: number;
}

export interface ListedStudy {
  name: string;
  question: string;
  figure: string;
  arms: string[];
  seeds: number;
  models: number;
  planned: number;
  counts: Record<string, number>;
  created_at: string;
  driver: StudyDriver | null;
}

export interface Log {
  name: string;
  bytes: number;
}

export interface Login {
  key: string;
}

export interface Logs {
  files: Log[];
  name: string;
  lines: string[];
  start: number;
  end: number;
  bytes: number;
}

export interface MatchProof {
  quantity: "steps" | "responses" | "tokens";
  limit: number;
  held: boolean;
  used: ArmUse[];
}

export interface Message {
  role: string;
  content: string;
}

export interface Metrics {
  names: string[];
  items: Series[];
}

export interface ModelDifference {
  model: string;
  difference: StudyInterval;
}

export interface NewFork {
  name: string | null;
  overrides: string[];
  tags: string[];
  note: string;
  restart: RestartPolicy;
  at: number;
  config: Record<string, any> | null;
}

export interface NewKey {
  key: string;
  name: string;
  scope: "read" | "write" | "admin";
  live: boolean;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  revoked_at: string | null;
  secret: string;
}

export interface NewRun {
  name: string | null;
  overrides: string[];
  tags: string[];
  note: string;
  restart: RestartPolicy;
  preset: string | null;
  run: string | null;
  config: Record<string, any> | null;
}

export interface NewStudy {
  preset: string | null;
  study: Record<string, any> | null;
}

export interface NewWebhook {
  name: string;
  url: string;
  form: "json" | "slack";
  topics: ("finished" | "failed" | "paused" | "warning")[];
  tags: string[];
  runs: "all" | "named";
  created_at: string;
  waiting: number;
  delivered: number;
  given_up: number;
  last_error: string | null;
  last: Delivery | null;
  secret: string;
}

export interface OpenStage {
  iteration: number;
  name: string;
  status: string;
  attempts: number;
  done: number;
  total: number;
  eta_s: number | null;
}

export interface Origin {
  iteration: number;
  source: number;
  slot: number;
  attempt: number;
  operator: string;
}

export interface Pair {
  iteration: number;
  checkpoint: number;
  chosen: number;
  rejected: number;
  chosen_reward: number;
  rejected_reward: number;
  margin: number;
}

export interface Paired {
  run: string;
  prompts: string;
  mode: string;
  rewarder: string | null;
  checkpoint: number;
  count: number;
  first: number;
  second: number;
  difference: number;
  standard_error: number | null;
  better: number;
  worse: number;
}

export interface PairedChange {
  value: number;
  low: number;
  high: number;
}

export interface PairedRuns {
  seed: number;
  model: string;
  first: string;
  second: string;
  difference: number;
}

export interface Part {
  iteration: number;
  pool_info: number | null;
  pool_reason: string | null;
  weight: number | null;
  key: number | null;
  sampled: boolean | null;
  buffer: boolean | null;
  batch_info: number | null;
  batch_reason: string | null;
}

export interface PlannedStage {
  name: string;
  seconds: number;
  hidden: number;
}

export interface Point {
  iteration: number;
  reward: number | null;
  info: number | null;
}

export interface PolicyScore {
  policy: number;
  success: number;
  reward: number | null;
}

export interface Preset {
  name: string;
  summary: string;
  needs: string;
  model: string;
  loss: string;
  gpus: number;
  lacks: string | null;
}

export interface Presets {
  items: Preset[];
  machines: string | null;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  given: string;
  expected?: string | null;
  next_move?: string | null;
  errors?: FieldProblem[] | null;
}

export interface PromptDetails {
  number: number;
  text: string;
  parent: number | null;
  root: number;
  operator: string | null;
  depth: number;
  born: number;
  topic: string | null;
  reference: string | null;
  likeness: number | null;
  guide: number | null;
  context: Message[];
  children: number;
  origin: Origin | null;
  parts: Part[];
  pairs: Pair[];
  advantages: Advantage[];
  why: string[];
  quarantined: Record<string, string>;
  responses: Responses;
}

export interface PromptFamilies {
  items: PromptFamily[];
  total: number;
  iterations: number[];
  sizes: number[];
}

export interface PromptFamily {
  root: number;
  text: string;
  descendants: number;
  members: number[];
}

export interface PromptFileUpload {
  name: string;
  bytes: number;
  prompts: number;
  repeated: number;
  empty: Record<string, number>;
  cut: Record<string, number>;
  joined: Record<string, number>;
  unused: string[];
  first: string[];
}

export interface PromptMap {
  iteration: number;
  prompts: number;
  landmarks: number;
  landmarks_until: number;
  settled: boolean;
  faithful: Faithfulness | null;
  faithful_later: Faithfulness | null;
  operators: string[];
  numbers: number[];
  x: number[];
  y: number[];
  born: number[];
  operator: (number | null)[];
  info: (number | null)[];
  starts: string[];
}

export interface PromptPage {
  total: number | null;
  items: ListedPrompt[];
  next: string | null;
}

export interface Ready {
  status: string;
  postgres: string;
}

export interface RecordedCosts {
  responses: number;
  tokens: number;
  pairs: number;
  steps: number;
  seconds: number;
  dollars: number;
}

export interface RecordedPolicy {
  checkpoint: number;
  spent: RecordedCosts;
  steps_by_iteration: number[];
  values: Record<string, (number | null)[]>;
}

export interface RecordedProvenance {
  code: string[];
  models: Record<string, string>;
  heldout: string[];
}

export interface RecordedRun {
  name: string;
  arm: string;
  seed: number;
  model: string;
  status: string;
  error: string | null;
  policies: RecordedPolicy[];
}

export interface Rehearsal {
  config: Record<string, any>;
  estimate: string[];
  checks: string[];
  plan: RunPlan | null;
}

export interface Relative {
  number: number;
  parent: number | null;
  operator: string | null;
  born: number;
  distance: number;
  info: number | null;
  children: number;
  batches: number[];
  text: string;
}

export interface RepeatCheck {
  covered: number;
  total: number;
  outcome_covered: boolean | null;
}

export interface Response {
  checkpoint: number;
  sample: number;
  text: string;
  finish: string;
  tokens: number;
  seed: number;
  rewards: Reward[];
}

export interface Responses {
  items: Response[];
  truncated: boolean;
}

export interface RestartPolicy {
  times: number;
  backoff_s: number;
}

export interface ResumeOptions {
  overrides: string[];
  accept_changes: boolean;
  restart: RestartPolicy | null;
}

export interface Reward {
  rewarder: string;
  value: number | null;
  reason: string | null;
  answer: string | null;
}

export interface Run {
  name: string;
  status: Status;
  desired: "run" | "pause" | "cancel";
  iteration: number;
  iterations: number;
  stage: OpenStage | null;
  held_by: Holder | null;
  outcome: SetOutcome[];
  prompts: number;
  seed: number;
  last_event: number;
  forked_from: ForkedFrom | null;
  seconds: number;
  tokens: number;
  steps: number;
  cost_usd: number;
  error: string | null;
  note: string;
  tags: string[];
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  deleted_at: string | null;
  config: Record<string, any>;
}

export interface RunChanges {
  name: string | null;
  tags: string[] | null;
  note: string | null;
}

export interface RunConfigText {
  text: string;
  against: string;
  choices: string[];
  changes: ChangedKey[];
}

export interface RunDetails {
  name: string;
  status: Status;
  desired: "run" | "pause" | "cancel";
  iteration: number;
  iterations: number;
  stage: OpenStage | null;
  held_by: Holder | null;
  outcome: SetOutcome[];
  prompts: number;
  seed: number;
  last_event: number;
  forked_from: ForkedFrom | null;
  seconds: number;
  tokens: number;
  steps: number;
  cost_usd: number;
  error: string | null;
  note: string;
  tags: string[];
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  deleted_at: string | null;
  wait: Wait | null;
  launch: Launch | null;
  config_hash: string;
  config: Record<string, any>;
}

export interface RunGroup {
  value: any;
  runs: string[];
  seconds: number;
  heldout: SetMean[];
}

export interface RunGroups {
  items: RunGroup[];
  truncated: boolean;
}

export interface RunPage {
  total: number | null;
  items: Run[];
  next: string | null;
}

export interface RunPlan {
  machines: string;
  iteration_s: number;
  total_s: number;
  gpu_hours: number;
  stages: PlannedStage[];
  disk: number;
  arithmetic: string[];
}

export interface Series {
  name: string;
  checkpoints: number[];
  steps: number[];
  places: number[];
  values: number[];
  total: number;
  missing: number;
}

export interface Session {
  keys_required: boolean;
  scope: "read" | "write" | "admin";
  key: string | null;
  until: string | null;
}

export interface SetMean {
  split: string;
  runs: number;
  mean: number;
  low: number | null;
  high: number | null;
}

export interface SetOutcome {
  split: string;
  first: PolicyScore;
  newest: PolicyScore | null;
  best: PolicyScore;
  success_change: PairedChange | null;
  reward_change: PairedChange | null;
}

export interface Stage {
  iteration: number;
  name: string;
  status: "running" | "done" | "failed";
  attempts: number;
  done: number;
  total: number;
  seconds: number;
  per_second: number | null;
  eta_s: number | null;
  counts: Record<string, any>;
  error: string | null;
  started_at: string;
  finished_at: string | null;
}

export interface Stages {
  items: Stage[];
}

export interface Statistic {
  iteration: number;
  name: string;
  data: any;
}

export interface Statistics {
  items: Statistic[];
}

export type Status = "created" | "queued" | "running" | "interrupted" | "paused" | "finished" | "failed" | "cancelled";

export interface Stretch {
  kind: "same" | "removed" | "added";
  text: string;
}

export interface StudyArm {
  name: string;
  changes: Record<string, any>;
  outcome: StudyInterval | null;
  costs: StudyCosts | null;
  curve: ArmPoint[];
}

export interface StudyComparison {
  difference: StudyInterval;
  p: number;
  p_is_exact: boolean;
  first: string;
  second: string;
  repeats: boolean;
  p_adjusted: number | null;
  verdict: "better" | "worse" | "equivalent" | "unresolved" | null;
  detectable: number | null;
  pairs: PairedRuns[];
  models: ModelDifference[];
  unequal: Inequality[];
}

export interface StudyCosts {
  responses: number;
  tokens: number;
  pairs: number;
  steps: number;
  seconds: number;
  dollars: number;
}

export interface StudyDriver {
  state: "queued" | "taken" | "submitted" | "ended";
  attempt: number;
  job: string | null;
  message: string | null;
}

export interface StudyInterval {
  value: number;
  low: number | null;
  high: number | null;
  deviation: number | null;
  error: number | null;
  error_of_prompts: number | null;
  runs: number;
  seeds: number;
  prompts: number;
  left_out: number;
}

export interface StudyOutcome {
  figure: string;
  better: "higher" | "lower";
  equivalent_within: number | null;
}

export interface StudyPage {
  total: number;
  items: ListedStudy[];
  next: string | null;
}

export interface StudyRecordsFile {
  kind: "eva study records";
  schema_version: number;
  config: Record<string, any>;
  models: string[];
  runs: RecordedRun[];
  contamination: HeldoutOverlap | null;
  provenance: RecordedProvenance;
}

export interface StudyReport {
  schema_version: number;
  name: string;
  question: string;
  outcome: StudyOutcome;
  seeds: number[];
  models: string[];
  planned: number;
  counts: Record<string, number>;
  arms: StudyArm[];
  comparisons: StudyComparison[];
  match: MatchProof | null;
  repeats: RepeatCheck;
  contamination: HeldoutOverlap | null;
  exploratory: ExploratoryDifference[];
  runs: StudyRun[];
}

export interface StudyRun {
  name: string;
  arm: string;
  seed: number;
  model: string;
  status: string;
  error: string | null;
  checkpoint: number | null;
  value: number | null;
  costs: StudyCosts | null;
}

export interface TrainedChunk {
  iteration: number;
  chunk: number;
  of: number;
  prompts: number;
  kept: number;
  pairs: number;
  skipped: Record<string, number>;
  reward: number | null;
  start: number | null;
  steps: number | null;
  sampled: number;
  staleness: number | null;
}

export interface TrainedChunks {
  items: TrainedChunk[];
}

export interface Wait {
  what: string;
  since: string | null;
  usual_s: number | null;
  runs: number;
}

export interface Webhook {
  name: string;
  url: string;
  form: "json" | "slack";
  topics: ("finished" | "failed" | "paused" | "warning")[];
  tags: string[];
  runs: "all" | "named";
  created_at: string;
  waiting: number;
  delivered: number;
  given_up: number;
  last_error: string | null;
  last: Delivery | null;
}

export interface WebhookRequest {
  name: string;
  url: string;
  form: "json" | "slack";
  topics: ("finished" | "failed" | "paused" | "warning")[];
  tags: string[];
  runs: "all" | "named";
}

export interface Webhooks {
  items: Webhook[];
}
