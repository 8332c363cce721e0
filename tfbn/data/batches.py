"""Which examples make a batch, as a pure function of (seed, step).

The order is not kept in an iterator: `indices(step)` returns the same batch however
often, in whatever order and in whichever process it is called. Resuming a run,
replaying a step and comparing two runs on the same batches are exact.

Each sampler has `batch_size` (int) and `indices(step)`, which takes the number of
preceding training steps and returns the indices of examples, int64 `[batch_size]`.
"""

import functools

import numpy as np

from tfbn import validation


class IIDBatches:
    """Every example once an epoch, in a new order each epoch.

    Batches are cut from the epochs' permutations laid end to end, so every batch is
    full: one that reaches the end of an epoch continues in the next (and may then hold
    an example twice). With `batch_size == num_examples` each batch is the whole data
    set: full-batch gradient descent.

    Args:
        num_examples: int > 0.
        batch_size: int > 0, at most `num_examples`.
        seed: int >= 0, default 0.

    Raises:
        ValueError: if an argument, or the step given to `indices`, breaks its rule.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int = 0):
        self.num_examples = validation.integer("num_examples", num_examples, minimum=1)
        self.batch_size = validation.integer("batch_size", batch_size, minimum=1)
        self.seed = validation.integer("seed", seed, minimum=0)
        if self.batch_size > self.num_examples:
            raise ValueError(
                f"batch_size must be at most the number of examples, {num_examples}. "
                f"Received: batch_size={batch_size}. Take smaller batches."
            )

    def indices(self, step: int) -> np.ndarray:
        """The examples of batch `step` (int >= 0): int64 `[batch_size]`."""
        step = validation.integer("step", step, minimum=0)
        return _shuffled(self.num_examples, self.batch_size, step, (self.seed,))


class ClassBiasedBatches:
    """A few labels a batch, several images of each: far from i.i.d.

    Labels are drawn uniformly *with* replacement, then for each draw `images_per_label`
    distinct images of that label. A batch lists them draw by draw, so
    `indices(step).reshape(labels_per_batch, images_per_label)` has one draw a row.

    Reference: Ioffe 2017 (arXiv 1702.03275), sec. 4.3: batches of 32 from 16 labels and
    2 images of each, on which batch normalisation trains badly.

    Args:
        labels: int array `[num_examples]`, the label of every example.
        labels_per_batch: int > 0, default 16.
        images_per_label: int > 0, default 2; every label has so many examples.
        seed: int >= 0, default 0.

    Raises:
        ValueError: if an argument, or the step given to `indices`, breaks its rule.
    """

    def __init__(
        self,
        labels: np.ndarray,
        labels_per_batch: int = 16,
        images_per_label: int = 2,
        seed: int = 0,
    ):
        self.labels_per_batch = validation.integer(
            "labels_per_batch", labels_per_batch, minimum=1
        )
        self.images_per_label = validation.integer(
            "images_per_label", images_per_label, minimum=1
        )
        self.seed = validation.integer("seed", seed, minimum=0)
        self.batch_size = self.labels_per_batch * self.images_per_label
        validation.memory(8 * self.batch_size, labels_per_batch=self.labels_per_batch)
        self._members = _members("labels", labels)
        _check_sizes("images_per_label", self.images_per_label, "label", self._members)

    def indices(self, step: int) -> np.ndarray:
        """The examples of batch `step` (int >= 0): int64 `[batch_size]`."""
        step = validation.integer("step", step, minimum=0)
        rng = np.random.default_rng((self.seed, step))
        groups = list(self._members.values())
        drawn = rng.integers(len(groups), size=self.labels_per_batch)
        return np.concatenate(
            [
                rng.choice(groups[group], self.images_per_label, replace=False)
                for group in drawn
            ]
        )


class DomainBiasedBatches:
    """One domain for a while, then the next: first brown dogs, then black dogs.

    Steps `0 .. steps_per_domain - 1` see only the first domain, the next
    `steps_per_domain` steps only the second, and so on, then the first again. Within a
    domain every example comes once before any comes again, in a new order each pass; a
    domain continues where it was left.

    Args:
        domains: int array `[num_examples]`, the domain of every example; at least two
            different ones, visited in ascending order.
        batch_size: int > 0, at most the size of the smallest domain.
        steps_per_domain: int > 0, in training steps.
        seed: int >= 0, default 0.

    Raises:
        ValueError: if an argument, or the step given to `indices`, breaks its rule.
    """

    def __init__(
        self,
        domains: np.ndarray,
        batch_size: int,
        steps_per_domain: int,
        seed: int = 0,
    ):
        self.batch_size = validation.integer("batch_size", batch_size, minimum=1)
        self.steps_per_domain = validation.integer(
            "steps_per_domain", steps_per_domain, minimum=1
        )
        self.seed = validation.integer("seed", seed, minimum=0)
        self._members = _members("domains", domains)
        if len(self._members) < 2:
            raise ValueError(
                "domains must hold at least two different values. "
                f"Received: only {list(self._members)}. Sample i.i.d. instead."
            )
        _check_sizes("batch_size", self.batch_size, "domain", self._members)

    def indices(self, step: int) -> np.ndarray:
        """The examples of batch `step` (int >= 0): int64 `[batch_size]`."""
        step = validation.integer("step", step, minimum=0)
        stretch, step_of_stretch = divmod(step, self.steps_per_domain)
        visit, turn = divmod(stretch, len(self._members))
        # How many batches of this very domain came before.
        step_of_domain = visit * self.steps_per_domain + step_of_stretch
        members = list(self._members.values())[turn]
        key = (self.seed, turn)
        return members[_shuffled(len(members), self.batch_size, step_of_domain, key)]


def _shuffled(size, batch_size, step, key):
    """Batch `step` of the permutations of `size`, epoch after epoch, end to end."""
    epoch, start = divmod(step * batch_size, size)
    batch = _permutation(size, *key, epoch)[start : start + batch_size]
    missing = batch_size - len(batch)
    # At most one more epoch is needed, as a batch is no larger than an epoch.
    if missing:
        batch = np.concatenate([batch, _permutation(size, *key, epoch + 1)[:missing]])
    return batch.copy()


@functools.lru_cache(maxsize=8)
def _permutation(size, *key):
    """The permutation of `size` that `key` seeds; read-only, as the cache shares it."""
    permutation = np.random.default_rng(key).permutation(size)
    permutation.flags.writeable = False
    return permutation


def _members(name, groups):
    """The indices of each group's examples, by group in ascending order."""
    if groups is None:
        raise ValueError(
            f"{name} must be a 1-D integer array, one entry an example. Received: "
            f"{name}=None. The data set has none: choose another, or sample i.i.d."
        )
    groups = _array(groups)
    if groups.ndim != 1 or not np.issubdtype(groups.dtype, np.integer):
        raise ValueError(
            f"{name} must be a 1-D integer array, one entry an example. Received: "
            f"{name} of shape {groups.shape} and dtype {groups.dtype}."
        )
    return {int(group): np.flatnonzero(groups == group) for group in np.unique(groups)}


def _array(values):
    """As `np.asarray`, lists of unequal lengths too."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(values, object)


def _check_sizes(name, value, noun, members):
    """Refuses to draw more different examples from a group than it has."""
    if not members:
        raise ValueError(
            f"{noun}s must hold at least one example. Received: {noun}s=[]."
        )
    smallest = min(members, key=lambda group: len(members[group]))
    if value > len(members[smallest]):
        raise ValueError(
            f"{name} must be at most the number of examples of every {noun}. Received: "
            f"{name}={value}, but {noun} {smallest} has {len(members[smallest])}. "
            f"Lower {name} or add examples."
        )
