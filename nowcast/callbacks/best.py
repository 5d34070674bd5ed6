"""Best: the checkpoint with the lowest validation loss."""

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint


class Best(ModelCheckpoint):
    """Keeps best.ckpt, also when the run folder lies elsewhere than when the run began.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, filename="best", monitor="val_loss", enable_version_counter=False)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what was the best, by its path in this folder."""
        here = str(self.dirpath)

        def moved(path: str) -> str:
            return path.replace(state["dirpath"], here, 1)

        paths = {name: moved(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        scores = {moved(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict({**state, **paths, "best_k_models": scores, "dirpath": here})
