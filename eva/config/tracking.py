"""Where else a run's figures are shown: MLflow, Weights & Biases, trackio."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eva.config.section import Section
from eva.runtime.redaction import redact


class _Tracking(Section):
    run_name: str | None = None
    """Name of the run there; unset: the run's own name."""
    timeout_s: float = Field(default=60.0, gt=0)
    """What takes longer is given up, and tried again a few times; the run itself never waits."""


class MlflowTracking(_Tracking):
    """A run of an MLflow experiment (package mlflow-skinny or mlflow; secrets in MLFLOW_TRACKING_… variables)."""

    kind: Literal["mlflow"]
    """MLflow."""
    uri: str | None = None
    """Address of the tracking server, or `sqlite:///…`, `databricks`, …; unset: MLFLOW_TRACKING_URI, else what MLflow
    itself takes, in the data directory."""
    experiment: str = "eva"
    """Experiment, made where there is none."""

    @property
    def name(self) -> str:
        """What it is told under."""
        return f"mlflow {self.experiment}" + (f" at {redact(self.uri)}" if self.uri else "")


class WandbTracking(_Tracking):
    """A run of a Weights & Biases project (package wandb; WANDB_API_KEY)."""

    kind: Literal["wandb"]
    """Weights & Biases."""
    project: str = "eva"
    """Project, made where there is none."""
    entity: str | None = None
    """User or team; unset: WANDB_ENTITY, else the key's own."""
    mode: Literal["online", "offline"] | None = None
    """`offline` writes to `wandb/` in the data directory, for `wandb sync`; unset: WANDB_MODE, else online."""

    @property
    def name(self) -> str:
        """What it is told under."""
        return f"wandb {self.entity}/{self.project}" if self.entity else f"wandb {self.project}"


class TrackioTracking(_Tracking):
    """A run of a trackio project (package trackio; HF_TOKEN for a Space)."""

    kind: Literal["trackio"]
    """trackio."""
    project: str = "eva"
    """Project, made where there is none."""
    space: str | None = None
    """Hugging Face Space that shows it; unset: TRACKIO_SPACE_ID, else this machine alone (`trackio show`)."""

    @property
    def name(self) -> str:
        """What it is told under."""
        return f"trackio {self.project}" + (f" at {self.space}" if self.space else "")


Tracking = Annotated[MlflowTracking | WandbTracking | TrackioTracking, Field(discriminator="kind")]
