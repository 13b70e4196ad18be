"""The config of a run. Unknown keys are errors; every field's docstring is its help text everywhere."""

from eva.config.creator import (
    Budget,
    CustomEvolver,
    EvolInstruct,
    EvolverConfig,
    Evolving,
    FeedbackEvolver,
    Gate,
    Informativeness,
    Mixing,
    PlaygroundEvolver,
    Sampling,
    SelfEvolver,
)
from eva.config.rewards import (
    Audit,
    EnsembleReward,
    JudgeReward,
    Member,
    MockReward,
    PairwiseReward,
    PointwiseReward,
    RewardConfig,
    RewardNetwork,
    VerifierReward,
)
from eva.config.run import Collapse, Novelty, Prompts, RunConfig
from eva.config.section import Section
from eva.config.solver import Evaluation, Fleet, Generation, Model, Pairs, Training
from eva.config.tracking import MlflowTracking, TrackioTracking, WandbTracking
from eva.config.watchdog import Watchdog

__all__ = [
    "Audit",
    "Budget",
    "Collapse",
    "CustomEvolver",
    "EnsembleReward",
    "Evaluation",
    "EvolInstruct",
    "EvolverConfig",
    "Evolving",
    "FeedbackEvolver",
    "Fleet",
    "Gate",
    "Generation",
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
    "RewardConfig",
    "RewardNetwork",
    "RunConfig",
    "Sampling",
    "Section",
    "SelfEvolver",
    "TrackioTracking",
    "Training",
    "VerifierReward",
    "WandbTracking",
    "Watchdog",
]
