"""The config of a run. Unknown keys are errors; a field's docstring is its help text everywhere.

`run`: the whole config, prompts, novelty, collapse, checkpoints, rollouts, watchdog.
`creator`: informativeness, sampling, evolving, mixing.
`solver`: model, generation, pairs, training, fleet. `evaluation`: held-out prompts, categories of prompts.
`rewards`: rewarders and the audit. `tracking`: tracking services.
`section`: the base of all sections.
`files`: loads and validates configs and presets. `yaml_text`: edits a config's text. `changes`: which keys may change.
`allowlist`, `admission`: what a config sent through the API may name. `cost_estimate`: what its run would cost.
"""

from eva.config.creator import (
    Budget,
    CopyEvolver,
    CreatorTraining,
    CustomEvolver,
    EvolInstruct,
    EvolverConfig,
    Evolving,
    FeedbackEvolver,
    Gate,
    Guidance,
    Informativeness,
    Mixing,
    PlaygroundEvolver,
    Sampling,
    SelfEvolver,
    TrainedEvolver,
)
from eva.config.evaluation import Evaluation
from eva.config.rewards import (
    AgreementReward,
    Audit,
    EnsembleReward,
    Environment,
    EnvironmentReward,
    JudgeReward,
    Member,
    MockReward,
    PairwiseReward,
    PointwiseReward,
    RewardConfig,
    RewardNetwork,
    VerifierReward,
)
from eva.config.run import Collapse, Novelty, Prompts, Retention, Rollouts, RunConfig, Watchdog
from eva.config.section import Section
from eva.config.solver import Fleet, Generation, Model, Pairs, Training
from eva.config.tracking import MlflowTracking, TrackioTracking, WandbTracking

__all__ = [
    "AgreementReward",
    "Audit",
    "Budget",
    "Collapse",
    "CopyEvolver",
    "CreatorTraining",
    "CustomEvolver",
    "EnsembleReward",
    "Environment",
    "EnvironmentReward",
    "Evaluation",
    "EvolInstruct",
    "EvolverConfig",
    "Evolving",
    "FeedbackEvolver",
    "Fleet",
    "Gate",
    "Generation",
    "Guidance",
    "Informativeness",
    "JudgeReward",
    "Member",
    "Mixing",
    "MlflowTracking",
    "MockReward",
    "Model",
    "Novelty",
    "Pairs",
    "PairwiseReward",
    "PlaygroundEvolver",
    "PointwiseReward",
    "Prompts",
    "Retention",
    "RewardConfig",
    "RewardNetwork",
    "Rollouts",
    "RunConfig",
    "Sampling",
    "Section",
    "SelfEvolver",
    "TrackioTracking",
    "TrainedEvolver",
    "Training",
    "VerifierReward",
    "WandbTracking",
    "Watchdog",
]
