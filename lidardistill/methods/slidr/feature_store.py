"""Pooled teacher features of keyframes, computed once where neither images nor teacher change."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lidardistill.atomic import atomic_write
from lidardistill.spans import spanned


class FeatureStore:
    """One .npy file a keyframe, written atomically; any number of processes may read and write.

    Args:
        root: folder, made at the first `put`.
        key: digest of everything that the features depend on besides the keyframe.
    """

    def __init__(self, root: Path | str, key: str) -> None:
        self.folder = Path(root) / key

    def path(self, sample_token: str) -> Path:
        return self.folder / f"{sample_token}.npy"

    def has(self, sample_token: str) -> bool:
        return self.path(sample_token).is_file()

    def put(self, sample_token: str, features: np.ndarray, count: np.ndarray) -> None:
        """Store (R, C) float32 features and the (R,) float32 pixels behind each row."""
        with atomic_write(self.path(sample_token)) as stream:
            np.save(stream, np.concatenate([features, count[:, None]], axis=1).astype(np.float32))

    @spanned("cached teacher features")
    def get(self, sample_token: str) -> tuple[np.ndarray, np.ndarray]:
        """(R, C) float32 features and (R,) float32 counts.

        Raises:
            FileNotFoundError: they were not computed.
        """
        path = self.path(sample_token)
        if not path.is_file():
            raise FileNotFoundError(
                f"no teacher features of keyframe {sample_token}: expected {path}; they are computed at the start of "
                "`lidardistill pretrain`, so run it again with the same config"
            )
        stored = np.load(path, allow_pickle=False)
        return stored[:, :-1], stored[:, -1]
