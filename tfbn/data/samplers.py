"""The ways to draw batches that a run can name."""

import dataclasses
from collections.abc import Callable
from typing import Any

from tfbn import validation
from tfbn.data.batches import ClassBiasedBatches
from tfbn.data.batches import DomainBiasedBatches
from tfbn.data.batches import IIDBatches
from tfbn.data.dataset import Split
from tfbn.data.dataset import check_split
from tfbn.options import Option
from tfbn.registry import Registry

Batches = IIDBatches | ClassBiasedBatches | DomainBiasedBatches


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A way to draw batches.

    Attributes:
        name: str.
        build: function `(split, batch_size, seed, **options)` -> batches; `options` has
            a value for each of `options`.
        options: the options that it takes.
        needs: "labels", "domains" or None, what it draws by.
    """

    name: str
    build: Callable[..., Batches]
    options: tuple[Option, ...] = ()
    needs: str | None = None


def _iid(split, batch_size, seed):
    return IIDBatches(len(split), batch_size, seed)


def _class_biased(split, batch_size, seed, *, images_per_label):
    batch_size = validation.integer("batch_size", batch_size, minimum=1)
    images = validation.integer("images_per_label", images_per_label, minimum=1)
    if batch_size % images:
        raise ValueError(
            f"batch_size must be a multiple of images_per_label, {images}. "
            f"Received: batch_size={batch_size}. Change either."
        )
    return ClassBiasedBatches(split.targets, batch_size // images, images, seed)


def _domain_biased(split, batch_size, seed, *, steps_per_domain):
    return DomainBiasedBatches(split.domains, batch_size, steps_per_domain, seed)


SAMPLERS = Registry(
    "sampling",
    Sampler("iid", _iid),
    Sampler(
        "class_biased",
        _class_biased,
        (
            Option(
                "images_per_label",
                2,
                "Examples of each label in a class-biased batch.",
                minimum=1,
            ),
        ),
        needs="labels",
    ),
    Sampler(
        "domain_biased",
        _domain_biased,
        (
            Option(
                "steps_per_domain",
                1000,
                "Steps before a domain-biased run changes domain.",
                minimum=1,
            ),
        ),
        needs="domains",
    ),
)
KINDS = SAMPLERS.names


def make_batches(
    kind: str,
    split: Split,
    *,
    batch_size: int,
    seed: int = 0,
    images_per_label: int = 2,
    steps_per_domain: int = 100,
) -> Batches:
    """Builds the sampler of a split from plain options, such as flags.

    Args:
        kind: str, one of `KINDS`: "iid", "class_biased" or "domain_biased".
        split: `Split`.
        batch_size: int > 0. "class_biased": a multiple of `images_per_label`.
        seed: int >= 0, default 0.
        images_per_label: int > 0, default 2; only "class_biased" reads it.
        steps_per_domain: int > 0, default 100; only "domain_biased" reads it.

    Returns:
        `IIDBatches`, `ClassBiasedBatches` or `DomainBiasedBatches`.

    Raises:
        ValueError: if an option breaks its rule, or the split has no labels or no
            domains to sample by.
    """
    sampler = SAMPLERS[validation.choice("kind", kind, KINDS)]
    check_split("split", split)
    values: dict[str, Any] = {
        "images_per_label": images_per_label,
        "steps_per_domain": steps_per_domain,
    }
    options = {option.name: values[option.name] for option in sampler.options}
    return sampler.build(split, batch_size, seed, **options)
