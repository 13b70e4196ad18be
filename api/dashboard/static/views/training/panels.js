// The charts of a training: which metrics each shows, and what they mean.

/** @type {{title: string, y: string, caption: string, names: [string, string, string][], zero?: boolean}[]} */
export const PANELS = [
  {
    title: "Loss",
    y: "loss",
    caption:
      "Loss of the objective. DPO starts at ln 2 ≈ 0.69, where chosen and rejected are equally likely; a policy " +
      "gradient stays near 0, whether it learns or not.",
    names: [["loss", "loss", "--c1"]],
  },
  {
    title: "Reward margin",
    y: "margin",
    caption: "The reward of the objective for the chosen response, minus the one for the rejected response.",
    zero: true,
    names: [["rewards/margins", "margin", "--c3"]],
  },
  {
    title: "Accuracy",
    y: "share of pairs",
    caption: "Share of pairs whose chosen response the policy prefers.",
    zero: true,
    names: [["rewards/accuracies", "accuracy", "--c4"]],
  },
  {
    title: "Log-probabilities",
    y: "log-probability",
    caption:
      "Of the chosen and the rejected responses, each summed over its tokens. If both fall together (displacement), " +
      "the policy also moves away from what it should keep.",
    names: [
      ["logps_sum/chosen", "chosen", "--c3"],
      ["logps_sum/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Log-probabilities per token",
    y: "nats per token",
    caption: "The same for a token of the response on average, so that its length does not count.",
    names: [
      ["logps_per_token/chosen", "chosen", "--c3"],
      ["logps_per_token/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Log-probabilities, as an earlier version stored them",
    y: "nats",
    caption:
      "As the loss used them: per token for orpo and simpo, with lighter tokens at the end for ld_dpo, " +
      "and summed over the response for the others.",
    names: [
      ["logps/chosen", "chosen", "--c3"],
      ["logps/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "KL from the reference",
    y: "nats per response",
    caption:
      "How far the policy has moved from the reference, which sampled these responses (the estimator k3, " +
      "never negative). It is left out where another policy sampled them.",
    zero: true,
    names: [["kl_k3", "KL", "--c8"]],
  },
  {
    title: "Log-ratio to the reference, stored as KL by an earlier version",
    y: "nats per response",
    caption:
      "Mean of log(reference / policy) over chosen and rejected responses. It may be negative, " +
      "and it estimates a KL only where the reference sampled the responses.",
    zero: true,
    names: [["kl", "log-ratio", "--c8"]],
  },
  {
    title: "Reward",
    y: "mean reward",
    caption: "Of the responses of a step. They were sampled before it, so this does not rise within an iteration.",
    names: [["reward", "reward", "--c3"]],
  },
  {
    title: "Advantages",
    y: "standard deviation",
    caption: "How far the rewards of a step's responses lie apart, by the rule of the loss.",
    zero: true,
    names: [["advantage_sd", "advantages", "--c4"]],
  },
  {
    title: "Ratio",
    y: "ratio",
    caption: "Probability under the policy over that under the policy that sampled, on average: 1 until it has moved.",
    names: [["ratio", "ratio", "--c1"]],
  },
  {
    title: "Clipped",
    y: "share of ratios",
    caption: "Share of the ratios that have reached their bound, which ends their gradient.",
    zero: true,
    names: [["clip_share", "clipped", "--c2"]],
  },
  {
    title: "Entropy",
    y: "nats per token",
    caption: "How undecided the policy is. When it falls towards 0, all responses to a prompt become the same.",
    zero: true,
    names: [["entropy", "entropy", "--c5"]],
  },
  {
    title: "Gap between engine and trainer",
    y: "nats per token",
    caption: "Mean difference of their log-probabilities for the same tokens and weights: rounding, if all is well.",
    zero: true,
    names: [["gap", "gap", "--c7"]],
  },
  {
    title: "Response length",
    y: "tokens",
    caption: "Mean length of the responses of a step.",
    zero: true,
    names: [["response_tokens", "tokens", "--c6"]],
  },
  {
    title: "Rewards of the objective",
    y: "implicit reward",
    caption:
      "The loss's own measure of a response: beta times its log-ratio to the reference, " +
      "or for orpo and simpo, beta times its log-probability per token.",
    names: [
      ["rewards/chosen", "chosen", "--c3"],
      ["rewards/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Learning rate",
    y: "learning rate",
    caption: "As set by the schedule.",
    zero: true,
    names: [["learning_rate", "learning rate", "--c5"]],
  },
  {
    title: "Gradient norm",
    y: "norm",
    caption: "Before clipping. If peaks come with jumps of the loss, lower the learning rate.",
    zero: true,
    names: [["grad_norm", "gradient norm", "--c7"]],
  },
];
