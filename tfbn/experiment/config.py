"""The one list of a run's options: flags are made from it, and runs read it."""

import dataclasses

import keras

from tfbn import data
from tfbn import diagnostics
from tfbn import validation
from tfbn.recording import cadence

MODELS = ("vgg", "deep_linear", "mlp")
ACTIVATIONS = ("default", "relu", "sigmoid", "tanh")
ON_NONFINITE = ("stop", "skip", "ignore")
NORMS = (
    "none",
    "batch_norm",
    "batch_renorm",
    "noisy_batch_norm",
    "noise_only",
    "l1",
    "l2",
    "linf",
)


_WITHOUT_EFFECT = (
    "checkpoint_every",
    "checkpoint_minutes",
    "checkpoints_kept",
    "data_dir",
    "progress",
    "run_dir",
)


def _option(default, help_text, **rule):
    """A field with its help and its rule: `choices`, `minimum`, `above`, `below`."""
    return dataclasses.field(default=default, metadata={"help": help_text, **rule})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of a training run. `help_of(name)` describes a field.

    Raises:
        ValueError: for a value outside its rule, or options that contradict.
    """

    # Network.
    model: str = _option("vgg", "Network to train.", choices=MODELS)
    vgg_depth: str = _option(
        "A", "VGG's configuration.", choices=("A", "B", "C", "D", "E")
    )
    width: float = _option(
        1.0, "Multiplies VGG's channels and hidden units.", above=0.0
    )
    hidden_units: tuple[int, ...] = _option(
        (), "Sizes of VGG's dense layers before the logits; empty: none.", minimum=1
    )
    dropout: float = _option(
        0.0, "Dropout after each of those.", minimum=0.0, below=1.0
    )
    classifier_grid: int = _option(
        0,
        "VGG: size of the grid that adaptive average pooling makes before the "
        "classifier, 7 in torchvision; 0: none.",
        minimum=0,
    )
    activation: str = _option(
        "default",
        "Nonlinearity of VGG's convolutions and hidden layers and of the MLP's; "
        "default: relu in VGG, sigmoid in the MLP.",
        choices=ACTIVATIONS,
    )
    linear_depth: int = _option(25, "Layers of the deep linear network.", minimum=1)
    kernel_initializer: str = _option(
        "glorot_uniform", "Keras initializer of the kernels."
    )
    kernel_scale: float = _option(
        1.0, "Multiplies the kernels' initial values, the logits' too.", above=0.0
    )
    l2_penalty: float = _option(
        0.0, "Weight of the sum of squared kernels in the loss.", minimum=0.0
    )

    # Normalisation.
    norm: str = _option(
        "batch_renorm",
        "What follows each layer before its nonlinearity.",
        choices=NORMS,
    )
    norm_after: tuple[int, ...] = _option(
        (), "VGG: the convolutions it follows, from 1 on; empty: all.", minimum=1
    )
    norm_momentum: float = _option(
        0.99, "Momentum of the moving averages.", minimum=0.0, maximum=1.0
    )
    norm_epsilon: float = _option(1e-3, "Epsilon of the normalisation.", above=0.0)
    virtual_batch_size: int = _option(
        0,
        "Normalisation: statistics of each so many examples of the batch (Ioffe 2017, "
        "sec. 4.2); 0: of the batch.",
        minimum=0,
    )
    rmax: float = _option(3.0, "Renorm: the final bound of r.", minimum=1.0)
    dmax: float = _option(5.0, "Renorm: the final bound of d.", minimum=0.0)
    renorm_schedule: str = _option(
        "scaled",
        "Renorm: the paper's ramps of rmax and dmax in its own steps, scaled to "
        "--train_steps, or constant bounds from the first step on.",
        choices=("paper", "scaled", "constant"),
    )

    # Data.
    dataset: str = _option("cifar10", "Data set.", choices=data.DATASETS)
    data_dir: str = _option(
        "", "Folder of TFDS's prepared data sets; empty: TFDS's own, with download."
    )
    data_seed: int = _option(
        0, "Seed of the generated data sets, shapes and gaussian.", minimum=0
    )
    sampling: str = _option(
        "iid",
        "How batches are drawn: shuffled epochs; --images_per_label of each of some "
        "labels; or one domain for --steps_per_domain steps, then the other.",
        choices=data.KINDS,
    )
    images_per_label: int = _option(
        2, "Images of each label in a class-biased batch.", minimum=1
    )
    steps_per_domain: int = _option(
        1000, "Steps before a domain-biased run changes domain.", minimum=1
    )
    batch_size: int = _option(128, "Examples in a training batch.", minimum=1)

    # Optimisation.
    train_steps: int = _option(15_000, "Optimizer steps.", minimum=1)
    optimizer: str = _option(
        "sgd", "Optimizer.", choices=("sgd", "momentum", "adam", "rmsprop")
    )
    optimizer_momentum: float = _option(
        0.9, "Momentum of --optimizer=momentum.", minimum=0.0, below=1.0
    )
    learning_rate: float = _option(0.1, "Initial learning rate.", above=0.0)
    learning_rate_schedule: str = _option(
        "constant",
        "Learning rate over the run: constant, to 0 along a cosine, or a tenth from "
        "each of --learning_rate_boundaries on.",
        choices=("constant", "cosine", "step"),
    )
    learning_rate_boundaries: tuple[int, ...] = _option(
        (), "Steps at which --learning_rate_schedule=step divides by 10.", minimum=1
    )

    # Execution.
    dtype_policy: str = _option(
        "float32",
        "Keras dtype policy.",
        choices=("float32", "mixed_bfloat16", "mixed_float16", "float64"),
    )
    jit_compile: str = _option(
        "auto",
        "Compile the step with XLA; auto: on accelerators only.",
        choices=("auto", "on", "off"),
    )
    steps_per_execution: int = _option(
        10, "Steps in one call of the compiled loop.", minimum=1
    )
    seed: int = _option(0, "Seed of weights, batches and noise.", minimum=0)
    deterministic: bool = _option(
        False, "Use deterministic kernels only: the same flags give the same bits."
    )
    on_nonfinite: str = _option(
        "stop",
        "A step whose loss or gradients are not finite: stop, which tells the layer "
        "where it shows first; skip, which counts it and leaves weights, averages and "
        "optimizer as they were; or ignore.",
        choices=ON_NONFINITE,
    )

    # Going on after an end.
    checkpoint_every: int = _option(
        1000, "Steps between checkpoints; 0: by --checkpoint_minutes alone.", minimum=0
    )
    checkpoint_minutes: float = _option(
        10.0, "Minutes after which there is one anyway; 0: never.", minimum=0.0
    )
    checkpoints_kept: int = _option(3, "Newest checkpoints that are kept.", minimum=1)

    # Watching.
    run_dir: str = _option("", "Folder for the results; empty: a new one under runs/.")
    log_every: int = _option(10, "Steps between training records.", minimum=1)
    eval_every: int = _option(
        1000, "Steps between evaluations; 0: only at the end.", minimum=0
    )
    eval_batch_size: int = _option(1000, "Examples in an evaluation batch.", minimum=1)
    eval_in_training_mode: bool = _option(
        False,
        "Evaluate in training mode too (batch statistics, dropout, noise), on at most "
        "40 batches of the test split that are drawn as --sampling has it; "
        "domain-biased: one domain a batch, in turn.",
    )
    training_mode_batch_size: int = _option(
        50,
        "Examples in a batch of --eval_in_training_mode (Ioffe 2017, sec. 4.3: 50).",
        minimum=1,
    )
    diagnostics_spacing: str = _option(
        "linear",
        "Steps between the measurements below: as given, or (log) growing to about a "
        "tenth of the step, in multiples of what is given.",
        choices=cadence.SPACINGS,
    )
    ics_every: int = _option(
        0,
        "Steps between measurements of internal covariate shift (G and G' of every "
        "layer; one costs about 0.4 steps a layer, G included); 0: never.",
        minimum=0,
    )
    ics_update: str = _option(
        "optimizer",
        "Update that the covariate shift is of: the optimizer's, or that of a step of "
        "plain SGD.",
        choices=diagnostics.registry["ics"].flags["ics_update"].choices,
    )
    landscape_every: int = _option(
        0,
        "Steps between measurements of the loss landscape along the gradient (loss "
        "range, gradient predictiveness, effective beta, local linearity; one costs "
        "--landscape_points + 1 steps); 0: never.",
        minimum=0,
    )
    landscape_low: float = _option(
        0.5, "Landscape: least step size, in learning rates.", above=0.0
    )
    landscape_high: float = _option(
        4.0, "Landscape: largest step size, in learning rates.", above=0.0
    )
    landscape_points: int = _option(
        8, "Landscape: number of step sizes, in geometric spacing.", minimum=2
    )
    landscape_directions: str = _option(
        "gradient",
        "Landscape: down the gradient, along random directions of its length, or both.",
        choices=diagnostics.registry["landscape"].flags["landscape_directions"].choices,
    )
    activations_every: int = _option(
        0,
        "Steps between measurements of every layer's activations (moments, their "
        "change, percentiles, histograms; one costs about 1.4 steps); 0: never.",
        minimum=0,
    )
    activations_unit: int = _option(
        0, "Activations: the unit whose percentiles are taken.", minimum=0
    )
    curvature_every: int = _option(
        0,
        "Steps between measurements of the Hessian's largest eigenvalue and spectrum "
        "(one costs about three steps an iteration); 0: never.",
        minimum=0,
    )
    curvature_iterations: int = _option(
        20, "Curvature: most iterations of Lanczos.", minimum=1
    )
    curvature_per_layer: bool = _option(
        False, "Curvature: of each layer too, at as many iterations each."
    )
    theory_every: int = _option(
        0,
        "Steps between checks of theorem 4.1 and the gradient identities on the batch "
        "normalisation layers (one costs about two steps); 0: never.",
        minimum=0,
    )
    replication_every: int = _option(
        0,
        "Steps between measurements by a public replication's estimators, faults "
        "included (one costs two steps a convolution, and two); 0: never.",
        minimum=0,
    )
    replication_convolutions: tuple[int, ...] = _option(
        (5,), "Replication: the convolutions measured, from 1 on.", minimum=1
    )
    progress: bool = _option(True, "Show a progress bar.")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _checked(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        validation.keras_object(
            "kernel_initializer", self.kernel_initializer, keras.initializers
        )
        _check_combination(self)


def fields():
    """The fields of `TrainConfig`, in order."""
    return dataclasses.fields(TrainConfig)


def help_of(name):
    """The help text of a field."""
    return TrainConfig.__dataclass_fields__[name].metadata["help"]


def to_flags(config, *, without=()):
    """The flags that give `config`: a list of `--name=value`.

    Args:
        config: a `TrainConfig`.
        without: names of fields to leave out.
    """
    return [
        f"--{field.name}={_flag_value(getattr(config, field.name))}"
        for field in fields()
        if field.name not in without
    ]


def differences(flags, config):
    """What keeps a run from being gone on with under a config: other results.

    Args:
        flags: list of str, the run's flags as `to_flags` gives them; one that is
            missing has its default.
        config: `TrainConfig`.

    Returns:
        A dict from the name of a flag that differs to its `(value in flags, value in
        config)`, as texts. Left out are flags on which no result depends, and
        on_nonfinite if it was "stop": no step that was made went by it.
    """
    parts = [flag.removeprefix("--").partition("=") for flag in flags]
    before = {name: value for name, _, value in parts}
    differing = {}
    for field in fields():
        now = str(_flag_value(getattr(config, field.name)))
        value = before.get(field.name, str(_flag_value(field.default)))
        stopped = field.name == "on_nonfinite" and value == "stop"
        if value != now and field.name not in _WITHOUT_EFFECT and not stopped:
            differing[field.name] = value, now
    return differing


def _flag_value(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value


def _checked(field, value):
    rule = {k: v for k, v in field.metadata.items() if k != "help"}
    if field.type is bool:
        return validation.boolean(field.name, value)
    if field.type is int:
        return validation.integer(field.name, value, **rule)
    if field.type is float:
        return validation.number(field.name, value, **rule)
    if field.type is str:
        return _checked_text(field.name, value, **rule)
    return validation.integers(field.name, value, **rule)


def _checked_text(name, value, choices=None):
    if choices is not None:
        return validation.choice(name, value, choices)
    if not isinstance(value, str):
        raise ValueError(
            f"{name} must be a string. Received: {name}={validation.shown(value)}."
        )
    return value


def _check_combination(config):
    """Refuses options of which one would be ignored or could not be met."""
    if (config.model == "deep_linear") != (config.dataset == "gaussian"):
        raise ValueError(
            "model=deep_linear goes with dataset=gaussian, and only with it. Received: "
            f"model={config.model}, dataset={config.dataset}."
        )
    if config.model == "vgg" and config.dataset == "mnist":
        raise ValueError(
            "model=vgg needs a dataset of images of 32x32 or more. Received: "
            "model=vgg, dataset=mnist (28x28). Use model=mlp."
        )
    if config.sampling == "domain_biased" and config.dataset != "shapes":
        raise ValueError(
            "sampling=domain_biased needs a data set with domains: dataset=shapes. "
            f"Received: sampling=domain_biased, dataset={config.dataset}."
        )
    if config.sampling == "class_biased" and config.dataset == "gaussian":
        raise ValueError(
            "sampling=class_biased needs a data set with labels. Received: "
            "sampling=class_biased, dataset=gaussian."
        )
    if (config.learning_rate_schedule == "step") != bool(
        config.learning_rate_boundaries
    ):
        raise ValueError(
            "learning_rate_boundaries goes with learning_rate_schedule=step. Received: "
            f"learning_rate_schedule={config.learning_rate_schedule}, "
            f"learning_rate_boundaries={config.learning_rate_boundaries}."
        )
    _check_network(config)
    _check_virtual_batches(config)
    _check_watching(config)


def _check_network(config):
    """The same, of the network."""
    if config.activation != "default" and config.model == "deep_linear":
        raise ValueError(
            "activation needs a network with nonlinearities: model=vgg or mlp. "
            f"Received: activation={config.activation}, model=deep_linear."
        )
    if config.classifier_grid and config.model != "vgg":
        raise ValueError(
            "classifier_grid needs a map to pool: model=vgg. Received: "
            f"classifier_grid={config.classifier_grid}, model={config.model}."
        )


def _check_virtual_batches(config):
    """The same, of virtual_batch_size."""
    size = config.virtual_batch_size
    if not size:
        return
    if config.norm in ("none", "noise_only"):
        raise ValueError(
            "virtual_batch_size needs a norm with statistics of the batch. Received: "
            f"virtual_batch_size={size}, norm={config.norm}."
        )
    divided = ["batch_size"]
    if config.eval_in_training_mode:
        divided.append("training_mode_batch_size")
    for name in divided:
        if getattr(config, name) % size:
            raise ValueError(
                f"virtual_batch_size must divide {name}. Received: virtual_batch_size="
                f"{size}, {name}={getattr(config, name)}. Change either."
            )
    if config.theory_every:
        raise ValueError(
            "virtual_batch_size must be 0 with theory_every, whose theorem is on "
            f"statistics of the batch. Received: virtual_batch_size={size}, "
            f"theory_every={config.theory_every}."
        )


def _check_watching(config):
    """The same, of the measurements."""
    if config.landscape_low >= config.landscape_high:
        raise ValueError(
            "landscape_low must be less than landscape_high. Received: landscape_low="
            f"{config.landscape_low}, landscape_high={config.landscape_high}."
        )
    if config.theory_every and config.norm not in ("batch_norm", "noisy_batch_norm"):
        raise ValueError(
            "theory_every needs batch normalisation: norm=batch_norm or "
            f"noisy_batch_norm. Received: theory_every={config.theory_every}, "
            f"norm={config.norm}."
        )
    if config.replication_every and config.model != "vgg":
        raise ValueError(
            "replication_every needs convolutions: model=vgg. Received: "
            f"replication_every={config.replication_every}, model={config.model}."
        )
    if config.replication_every and not config.replication_convolutions:
        raise ValueError(
            "replication_convolutions must name one or more with replication_every. "
            f"Received: replication_every={config.replication_every}, "
            "replication_convolutions=()."
        )
