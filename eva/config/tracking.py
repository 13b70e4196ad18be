"""The tracking sections: services that also show a run's figures (MLflow, Weights & Biases, trackio)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from eva.config.section import Section
from eva.runtime.redaction import redact


class _Tracking(Section):
    run_name: str | None = None
    """Name of the run in the service; unset: the run's own name."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one call. A call that takes longer is abandoned and retried a few times; the run itself never
    waits."""


class MlflowTracking(_Tracking):
    """A run in an MLflow experiment (package mlflow-skinny or mlflow; secrets in MLFLOW_TRACKING_… variables)."""

    kind: Literal["mlflow"]
    """MLflow."""
    uri: str | None = None
    """Address of the tracking server, or `sqlite:///…`, `databricks`, …; unset: MLFLOW_TRACKING_URI, else MLflow's own
    default, in the data directory."""
    experiment: str = "eva"
    """Experiment; created if it does not exist."""

    @property
    def name(self) -> str:
        """The name of the service and its experiment, in events and logs."""
        return f"mlflow {self.experiment}" + (f" at {redact(self.uri)}" if self.uri else "")


class WandbTracking(_Tracking):
    """A run in a Weights & Biases project (package wandb; WANDB_API_KEY)."""

    kind: Literal["wandb"]
    """Weights & Biases."""
    project: str = "eva"
    """Project; created if it does not exist."""
    entity: str | None = None
    """User or team; unset: WANDB_ENTITY, else the key's owner."""
    mode: Literal["online", "offline"] | None = None
    """`offline` writes to `wandb/` in the data directory, for `wandb sync`; unset: WANDB_MODE, else online."""

    @property
    def name(self) -> str:
        """The name of the service and its project, in events and logs."""
        return f"wandb {self.entity}/{self.project}" if self.entity else f"wandb {self.project}"


class TrackioTracking(_Tracking):
    """A run in a trackio project (package trackio; HF_TOKEN for a Space)."""

    kind: Literal["trackio"]
    """trackio."""
    project: str = "eva"
    """Project; created if it does not exist."""
    space: str | None = None
    """Hugging Face Space that shows the run; unset: TRACKIO_SPACE_ID, else only this machine (`trackio show`)."""

    @property
    def name(self) -> str:
        """The name of the service and its project, in events and logs."""
        return f"trackio {self.project}" + (f" at {self.space}" if self.space else "")


Tracking = Annotated[MlflowTracking | WandbTracking | TrackioTracking, Field(discriminator="kind")]
