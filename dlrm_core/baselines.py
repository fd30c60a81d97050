"""What a DLRM must beat on the same rows: constant click rate, logistic regression, gradient-boosted trees.

Each sees what the DLRM sees (numericals and ids of the prepared data set; where a numerical is 0.0, which stands for
missing, the logistic regression gets a flag as well). Each is tuned on the rows that the DLRM's stopping rule looks at,
then fitted on all training rows, and scored on the test part.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dlrm_core.data import Part, TrainingParts, keep_off_dataset, open_part, open_training_parts
from dlrm_core.metrics import log_loss
from dlrm_core.schema.config import BaselinesConfig
from dlrm_core.schema.errors import KitError
from dlrm_core.schema.files import make_output_folder, sha256_file
from dlrm_core.schema.progress import Progress, silent
from dlrm_core.schema.record import FILE as RECORD
from dlrm_core.schema.record import Recorder, RunRecord, recording
from dlrm_core.train.evaluate import curves, measure, predictions_file, save_predictions

Columns = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]
Logits = NDArray[np.float64]
MAX_ITERATIONS = 500


def run_baselines(
    *, data: Path, out: Path, config: BaselinesConfig, preset: str = "workshop", progress: Progress = silent
) -> list[RunRecord]:
    """Fit and score every baseline; OUT gets one folder each, with `run.json` and the test predictions, and its own `run.json`.

    `preset` says, for the records, where `config` came from.

    Raises
    ------
    KitError
        If DATA is damaged, a part is empty or has rows of one class only, or OUT cannot be written or is a prepared data
        set.
    """
    parts, test = open_training_parts(data), open_part(data, "test")
    if not len(parts.stop):
        raise KitError(f"{data}: too few training rows to hold any back for tuning; at least 10 are needed")
    keep_off_dataset(out)
    make_output_folder(out)
    repeat = f"dlrm baselines --data DATA --out DIR --preset {Path(preset).name}"
    fitters = {"constant": _constant, "logistic": _logistic, "trees": _trees}
    records = []
    with recording(
        out,
        "baselines",
        name="baselines",
        repeat=repeat,
        config=config.model_dump(mode="json"),
        dataset_digest=test.spec.digest,
    ):
        _clear(out, fitters)
        _check_classes(parts)
        for done, (name, fitter) in enumerate(fitters.items()):
            progress(f"baselines: {name}", done, len(fitters))
            with _recorded(out / name, name, config, test, repeat) as recorder:
                with recorder.timed("fit"):
                    logit_B, selection = fitter(parts, test, config)
                _score(recorder, test, logit_B, selection)
            records.append(recorder.record)
        progress("baselines", len(fitters), len(fitters))
    return records


def _clear(out: Path, names: Iterable[str]) -> None:
    """Remove what an earlier call left, so that no record of other rows stands beside the new ones."""
    for name in names:
        for file in (RECORD, predictions_file("test")):
            (out / name / file).unlink(missing_ok=True)


def _check_classes(parts: TrainingParts) -> None:
    for part, what in ((parts.everything, "training rows"), (parts.fit, "training rows that are not held back")):
        rate = part.labels().mean()
        if not 0 < rate < 1:
            raise KitError(f"the click rate of the {what} is {rate:.0f}; rows of both classes are needed")


@contextmanager
def _recorded(folder: Path, name: str, config: BaselinesConfig, test: Part, repeat: str) -> Iterator[Recorder]:
    settings = config.model_dump(mode="json")
    with recording(
        folder,
        "baselines",
        name=name,
        repeat=repeat,
        config=settings,
        dataset_digest=test.spec.digest,
        seeds={"model": config.seed},
    ) as recorder:
        yield recorder


def _score(recorder: Recorder, test: Part, logit_B: Logits, selection: str) -> None:
    label_B = test.labels()
    path = save_predictions(recorder.folder, "test", label_B, logit_B)
    recorder.update(
        metrics=measure(label_B, logit_B, "test", selection),
        series=curves(label_B, logit_B, "test"),
        outputs={path.name: sha256_file(path)},
    )


def _constant(parts: TrainingParts, test: Part, _: BaselinesConfig) -> tuple[Logits, str]:
    rate = float(parts.everything.labels().mean())
    return np.full(len(test), np.log(rate / (1 - rate))), f"click rate of the training rows, {rate:.6f}"


def _logistic(parts: TrainingParts, test: Part, config: BaselinesConfig) -> tuple[Logits, str]:
    chosen = config.logistic_c[0]
    if len(config.logistic_c) > 1:
        fit, stop = _last_rows(parts.fit.columns(), config.tune_rows), parts.stop.columns()
        encoder = _OneHot(fit, config.logistic_frequency_limit)
        fit_matrix, stop_matrix = encoder(fit), encoder(stop)

        def loss(c: float) -> float:
            return log_loss(stop[2], _logistic_model(c).fit(fit_matrix, fit[2]).decision_function(stop_matrix))

        chosen = min(config.logistic_c, key=loss)
    everything = parts.everything.columns()
    encoder = _OneHot(everything, config.logistic_frequency_limit)
    model = _logistic_model(chosen).fit(encoder(everything), everything[2])
    selection = f"C = {chosen} of {list(config.logistic_c)}{_tuned(parts, config)}"
    return model.decision_function(encoder(test.columns())), selection


def _tuned(parts: TrainingParts, config: BaselinesConfig) -> str:
    limited = config.tune_rows is not None and config.tune_rows < len(parts.fit)
    rows = f" of models fitted on {config.tune_rows:,} rows" if limited else ""
    return f", by log loss{rows} on {parts.stop_rule}; fitted on all training rows"


def _last_rows(columns: Columns, count: int | None) -> Columns:
    numerical, ids, label = columns
    return columns if count is None else (numerical[-count:], ids[-count:], label[-count:])


def _logistic_model(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, solver="lbfgs", max_iter=MAX_ITERATIONS)


class _OneHot:
    """Columns to a sparse matrix: standardised numericals, flags of the missing ones, one column an id that is frequent enough."""

    def __init__(self, columns: Columns, limit: int) -> None:
        numerical, ids, _ = columns
        self._scaler = StandardScaler().fit(numerical)
        counts = [np.bincount(ids[:, t]) for t in range(ids.shape[1])]
        # Ids fall with their count, so that the frequent ones are those up to the last with count >= limit.
        self._frequent = [int(np.flatnonzero(count >= limit).max(initial=0)) for count in counts]

    def __call__(self, columns: Columns) -> sparse.csr_matrix:
        numerical, ids, _ = columns
        rows = np.arange(len(ids))
        blocks = [
            sparse.csr_matrix(self._scaler.transform(numerical)),
            sparse.csr_matrix((numerical == 0.0).astype(np.float64)),
        ]
        for t, largest in enumerate(self._frequent):
            column = np.where(ids[:, t] <= largest, ids[:, t], 0)
            blocks.append(sparse.csr_matrix((np.ones(len(ids)), (rows, column)), shape=(len(ids), largest + 1)))
        return sparse.hstack(blocks, format="csr")


def _trees(parts: TrainingParts, test: Part, config: BaselinesConfig) -> tuple[Logits, str]:
    fit_matrix, fit_label = _dense(_last_rows(parts.fit.columns(), config.tune_rows))
    stop_matrix, stop_label = _dense(parts.stop.columns())
    tried = {}
    for setting in product(config.tree_learning_rates, config.tree_leaf_nodes):
        model = _tree_model(config, setting, config.most_trees, early_stopping=True)
        model.fit(fit_matrix, fit_label, X_val=stop_matrix, y_val=stop_label)
        tried[setting] = (log_loss(stop_label, model.decision_function(stop_matrix)), int(model.n_iter_))
    best = min(tried, key=lambda setting: tried[setting][0])
    model = _tree_model(config, best, tried[best][1], early_stopping=False).fit(*_dense(parts.everything.columns()))
    selection = (
        f"learning rate {best[0]} of {list(config.tree_learning_rates)}, {best[1]} leaves of {list(config.tree_leaf_nodes)} "
        f"and {tried[best][1]} trees of at most {config.most_trees}{_tuned(parts, config)}"
    )
    return model.decision_function(_dense(test.columns())[0]), selection


def _tree_model(
    config: BaselinesConfig, setting: tuple[float, int], iterations: int, *, early_stopping: bool
) -> HistGradientBoostingClassifier:
    rate, leaves = setting
    return HistGradientBoostingClassifier(
        learning_rate=rate,
        max_iter=iterations,
        max_leaf_nodes=leaves,
        l2_regularization=config.tree_l2,
        max_features=config.tree_features,
        min_samples_leaf=config.tree_rows_per_leaf,
        early_stopping=early_stopping,
        n_iter_no_change=10,
        random_state=config.seed,
    )


def _dense(columns: Columns) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Numericals and ids side by side; an id is a rank by frequency, so that its order means something to a tree."""
    numerical, ids, label = columns
    return np.concatenate([numerical, ids.astype(np.float32)], axis=1), label
