"""Batches from a prepared data set: bytes on disk to tensors."""

from dlrm_core.data.batch import Batch
from dlrm_core.data.part import Part
from dlrm_core.data.parts import TrainingParts, keep_off_dataset, open_part, open_training_parts
from dlrm_core.data.prefetch import ahead

__all__ = ["Batch", "Part", "TrainingParts", "ahead", "keep_off_dataset", "open_part", "open_training_parts"]
