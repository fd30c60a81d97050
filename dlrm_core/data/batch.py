"""What a training step is given.

Legend: B rows of a batch, N numerical features, T categorical features.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Rows of a data set: numerical_BN float32, ids_BT int64, label_B float32 (0 or 1)."""

    numerical_BN: Tensor
    ids_BT: Tensor
    label_B: Tensor

    def __len__(self) -> int:
        return len(self.label_B)

    def shard(self, start: int, stop: int) -> "Batch":
        """The rows from `start` up to `stop`."""
        return Batch(self.numerical_BN[start:stop], self.ids_BT[start:stop], self.label_B[start:stop])
