"""Support vector machines: the widest street between classes, or a tube around the values of a regression.

Fitted by libsvm and liblinear through scikit-learn, or by oneDAL through scikit-learn-intelex where that is
faster. The scores are `decision` times a slope plus an offset: for classes Platt's (models/platt.py), so that
they are logits; for a regression the standard deviation and the mean of the target, in whose units C and
epsilon are measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.scores import dense
from danlu.core.seeds import derive, generator
from danlu.core.tasks import Task
from danlu.models.affine import Affine
from danlu.models.classes import read_seen, spread
from danlu.models.native import convergence, native
from danlu.models.platt import Scale, fit_scale
from danlu.models.rows import Rows, slices, standardised, training_rows
from danlu.models.stored import Stored, store_table


@dataclass(frozen=True)
class LinearSVMSettings(Settings):
    """How much a row on the wrong side costs."""

    c: float = 1.0
    """Cost of a row on the wrong side beside the width of the street, above 0; scikit-learn's C."""
    epsilon: float = 0.1
    """Error of a regression that costs nothing, in standard deviations of the target, 0 or more."""

    def __post_init__(self) -> None:
        if not 0 < self.c < float("inf"):
            raise RecipeError(f"c must be above 0, got {self.c}. Usual values are 0.01 to 100.")
        if not 0 <= self.epsilon < float("inf"):
            raise RecipeError(f"epsilon must not be negative, got {self.epsilon}. The usual value is 0.1.")


@dataclass(frozen=True)
class SVMSettings(LinearSVMSettings):
    """The kernel, and how much a row on the wrong side costs."""

    kernel: Literal["rbf", "linear", "poly", "sigmoid"] = "rbf"
    """Similarity of rows: exp(-gamma |x - z|^2), x.z, (gamma x.z + coef0)^degree, tanh(gamma x.z + coef0)."""
    gamma: Literal["scale"] | float = "scale"
    """How fast similarity falls, above 0; `scale` is one over the number of columns times their variance."""
    degree: int = 3
    """Power of the `poly` kernel, 1 to 10."""
    coef0: float = 0.0
    """Constant of the `poly` and the `sigmoid` kernel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma != "scale" and not 0 < float(self.gamma) < float("inf"):
            raise RecipeError(f"gamma must be 'scale' or above 0, got {self.gamma}.")
        if not 1 <= self.degree <= 10:
            raise RecipeError(f"degree must lie from 1 to 10, got {self.degree}. The usual value is 3.")


@dataclass(frozen=True)
class Machine:
    """Support vectors and what they count; for s classes one boundary between every two of them."""

    rows: Any
    """(m, d) array or CSR matrix, class after class."""
    dual: np.ndarray
    """(1, m) for one boundary, (s - 1, m) for s > 2 classes, laid out as in libsvm."""
    num_support: np.ndarray
    """(s,) rows of each class; (1,) for one boundary."""
    intercept: np.ndarray
    """(s (s - 1) / 2,), or (1,)."""
    gamma: float

    def state(self) -> State:
        """The arrays."""
        state: State = {"rows": store_table(self.rows), "dual": self.dual, "intercept": self.intercept}
        return state | {"num_support": self.num_support, "gamma": self.gamma}

    @classmethod
    def read(cls, stored: Stored, num_features: int, num_classes: int) -> Machine:
        """The checked arrays of a state."""
        rows = stored.table("rows", num_features)
        many = num_classes > 2
        dual = stored.array("dual", (num_classes - 1 if many else 1, rows.shape[0]))
        intercept = stored.array("intercept", (num_classes * (num_classes - 1) // 2 if many else 1,))
        num_support = stored.array(
            "num_support", (num_classes if many else 1,), dtype=np.int64, low=0, high=rows.shape[0]
        )
        if num_support.sum() != rows.shape[0]:
            raise stored.damaged(f"its {rows.shape[0]} support vectors are not those that the classes count")
        return cls(rows, dual, num_support, intercept, stored.number("gamma", low=np.finfo(np.float64).tiny))

    def decision(self, x: Any, settings: SVMSettings) -> np.ndarray:
        """Signed distances from the boundary (n,), or scores of one class against the others (n, s)."""
        sizes = _squares(self.rows)
        pieces = [
            self._decide(self._kernel(x[piece], sizes, settings)) for piece in slices(x.shape[0], len(sizes))
        ]
        return np.concatenate(pieces) if pieces else self._decide(np.zeros((0, len(sizes))))

    def _kernel(self, x: Any, sizes: np.ndarray, settings: SVMSettings) -> np.ndarray:
        dot = np.asarray(dense(x @ self.rows.T), dtype=np.float64)
        if settings.kernel == "rbf":
            return np.exp(-self.gamma * np.maximum(_squares(x)[:, None] + sizes - 2.0 * dot, 0.0))
        if settings.kernel == "poly":
            return (self.gamma * dot + settings.coef0) ** settings.degree
        return np.tanh(self.gamma * dot + settings.coef0) if settings.kernel == "sigmoid" else dot

    def _decide(self, kernel: np.ndarray) -> np.ndarray:
        if len(self.num_support) == 1:
            return kernel @ self.dual[0] + self.intercept[0]
        num_classes, ends = len(self.num_support), np.cumsum(self.num_support)
        # against[i][:, j]: what the support vectors of class i say about i against the j-th of the other
        # classes
        against = [
            kernel[:, end - n : end] @ self.dual[:, end - n : end].T
            for n, end in zip(self.num_support, ends, strict=True)
        ]
        votes, sums = np.zeros((len(kernel), num_classes)), np.zeros((len(kernel), num_classes))
        pair = 0
        for i in range(num_classes):
            for j in range(i + 1, num_classes):
                distance = against[i][:, j - 1] + against[j][:, i] + self.intercept[pair]
                votes[:, i] += distance >= 0
                votes[:, j] += distance < 0
                sums[:, i] += distance
                sums[:, j] -= distance
                pair += 1
        return votes + sums / (3.0 * (np.abs(sums) + 1.0))  # votes first; the sums break ties, below a third


@part(
    "model",
    "svm",
    summary="Support vector machine with a kernel: curved boundaries, thousands of rows; keeps some of them.",
    source="Cortes, Vapnik 1995, Machine Learning 20(3)",
    settings=SVMSettings,
    encoding="linear",
    update="estimator",
    keeps_rows=True,
    library="sklearn.svm",
)
class SVM:
    """A kernel machine for classes or values."""

    keeps_rows = True
    interruptible = False

    def __init__(self, settings: SVMSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.seen = np.arange(len(task.labels))
        self.machine = _empty(num_features)
        self.scale = Scale()

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Fit the machine, and its scale."""
        rows = training_rows(batch)
        gamma = self._gamma(rows.x)
        if not task.is_classification:
            rows, mean, deviation = standardised(rows)
            self.scale = Scale(deviation, mean)
            self.machine = self._fit(rows, "SVR", gamma, context, epsilon=self.settings.epsilon)
            return Step(done=True)
        self.seen, codes = np.unique(rows.y, return_inverse=True)
        if len(self.seen) > 1:
            rows = rows._replace(y=codes)
            self.machine = self._fit(rows, "SVC", gamma, context)
            self.scale = fit_scale(
                lambda part, x: self._fit(part, "SVC", gamma, context).decision(x, self.settings),
                rows,
                len(self.seen),
                generator(self.seed, "scale of the svm"),
            )
        return Step(done=True)

    def decision(self, x: Any) -> np.ndarray:
        """(n,) signed distances, -1 and 1 at the street's edges, or (n, k): sklearn's `decision_function`."""
        if len(self.seen) == 1:
            return np.zeros((x.shape[0], 1))
        return self.machine.decision(x, self.settings)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) values or logits of class 1, (n, k) logits."""
        scores = self.scale(self.decision(x))
        return spread(scores, self.seen, self.task) if self.task.is_classification else scores

    def state(self) -> State:
        """The support vectors, what they count, and the scale."""
        return {"seen": self.seen, **self.machine.state(), **self.scale.state()}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="svm")
        seen = _read_seen(stored, self.task)
        machine = Machine.read(stored, self.num_features, len(seen))
        scale = Scale.read(stored)
        stored.end()
        self.seen, self.machine, self.scale = seen, machine, scale

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)

    def _fit(self, rows: Rows, name: str, gamma: float, context: Context, **more: Any) -> Machine:
        settings = {
            "C": self.settings.c,
            "kernel": self.settings.kernel,
            "gamma": gamma,
            "degree": self.settings.degree,
        }
        estimator = native(
            name, rows.x, num_threads=context.num_threads, coef0=self.settings.coef0, **settings, **more
        ).fit(rows.x, rows.y, sample_weight=rows.sample_weight)
        dual = np.ascontiguousarray(dense(estimator.dual_coef_), dtype=np.float64)
        one = len(dual) == 1
        num_support = [dual.shape[1]] if one else estimator.n_support_
        return Machine(
            estimator.support_vectors_,
            dual,
            np.array(num_support, dtype=np.int64),
            np.array(estimator.intercept_, dtype=np.float64).reshape(-1),
            gamma,
        )

    def _gamma(self, x: Any) -> float:
        if self.settings.gamma != "scale":
            return float(self.settings.gamma)
        mean_square = x.multiply(x).mean() if hasattr(x, "toarray") else (x * x).mean()
        variance = mean_square - x.mean() ** 2
        return float(1.0 / (x.shape[1] * variance)) if variance > 0 else 1.0


@part(
    "model",
    "linear_svm",
    summary="Support vector machine with a straight boundary: many rows and columns, strong on text.",
    source="Fan et al. 2008, LIBLINEAR, JMLR 9",
    settings=LinearSVMSettings,
    encoding="linear",
    update="estimator",
    library="sklearn.svm",
)
class LinearSVM:
    """The widest street, one class against the others, or a line with a tube; fitted by liblinear."""

    keeps_rows = False
    interruptible = False

    def __init__(self, settings: LinearSVMSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.seen = np.arange(len(task.labels))
        self.lines = Affine.zeros(num_features, task.num_scores)
        self.scale = Scale()

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Fit the lines, and their scale."""
        rows = training_rows(batch)
        with convergence() as ended:
            if not task.is_classification:
                rows, mean, deviation = standardised(rows)
                self.scale = Scale(deviation, mean)
                self.lines = self._fit(rows, "LinearSVR", epsilon=self.settings.epsilon)
            else:
                self.seen, codes = np.unique(rows.y, return_inverse=True)
                self._fit_classes(rows._replace(y=codes))
        return Step(signals={"converged": float(ended.is_reached)}, done=True)

    def decision(self, x: Any) -> np.ndarray:
        """(n,) signed distances, -1 and 1 at the street's edges, or (n, k): sklearn's `decision_function`."""
        return self.lines(x) if len(self.seen) != 1 else np.zeros((x.shape[0], 1))

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) values or logits of class 1, (n, k) logits."""
        scores = self.scale(self.decision(x))
        return spread(scores, self.seen, self.task) if self.task.is_classification else scores

    def state(self) -> State:
        """The lines and the scale."""
        return {"seen": self.seen, **self.lines.state(), **self.scale.state()}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="linear_svm")
        seen = _read_seen(stored, self.task)
        lines = Affine.read(stored, self.num_features, len(seen) if len(seen) > 2 else 1)
        scale = Scale.read(stored)
        stored.end()
        self.seen, self.lines, self.scale = seen, lines, scale

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)

    def _fit_classes(self, rows: Rows) -> None:
        if len(self.seen) == 1:
            self.lines = Affine.zeros(self.num_features, 1)
            return
        self.lines = self._fit(rows, "LinearSVC")
        rng = generator(self.seed, "scale of the linear svm")
        self.scale = fit_scale(lambda part, x: self._fit(part, "LinearSVC")(x), rows, len(self.seen), rng)

    def _fit(self, rows: Rows, name: str, **more: Any) -> Affine:
        seed = derive(self.seed, "liblinear")
        estimator = native(
            name, rows.x, C=self.settings.c, dual="auto", max_iter=10_000, random_state=seed, **more
        )
        estimator.fit(rows.x, rows.y, sample_weight=rows.sample_weight)
        return Affine.of(estimator.coef_, estimator.intercept_)


def _empty(num_features: int) -> Machine:
    return Machine(
        np.zeros((0, num_features)), np.zeros((1, 0)), np.zeros(1, dtype=np.int64), np.zeros(1), 1.0
    )


def _read_seen(stored: Stored, task: Task) -> np.ndarray:
    return read_seen(stored, task) if task.is_classification else stored.array("seen", (0,), dtype=np.int64)


def _squares(x: Any) -> np.ndarray:
    if hasattr(x, "toarray"):
        return np.asarray(x.multiply(x).sum(axis=1), dtype=np.float64).reshape(-1)
    return (x * x).sum(axis=1)
