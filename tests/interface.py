"""Every public function of the model and of the experiments, with an example call.

An example makes all that it takes from a :class:`Given`. So each test chooses the sizes, the dtype, the layout, the
generator and the law, and plants what it likes in any one tensor or number.
"""

import dataclasses
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor, nn

import srlib
from srlib import (
    Ensemble,
    Network,
    arccos,
    collapsed,
    ensemble,
    feedforward,
    haar,
    init,
    moments,
    ntk,
    rank,
    spectra,
)
from srlib.experiments import bounds, data, expressivity, gradient_flow, training

WIDTHS, CLASSES = (9, 7, 3, 5), 2  # no two of them equal, and the largest fan-in is not the largest fan-out


@dataclasses.dataclass
class Given:
    """What examples are called with. ``plant(i, value)`` replaces the i-th tensor or number that one of them takes."""

    dtype: torch.dtype = torch.float64
    batch: int = 11
    count: int = 13
    widths: tuple[int, ...] = WIDTHS
    slope: float = 0.3
    law: Callable = spectra.two_level
    generator: torch.Generator | None = None
    plant: Callable[[int, Tensor | float], Tensor | float] = lambda i, value: value
    seed: int = 0

    def __post_init__(self):
        self.taken = 0
        self.source = torch.Generator("cpu").manual_seed(self.seed)
        self.seeded = {"generator": self.generator}
        self.made = self.seeded | {"dtype": self.dtype, "device": "cpu"}
        self.drawn = {"law": self.law} | self.made

    def take(self, value):
        self.taken += 1
        return self.plant(self.taken - 1, value)

    def tensor(self, *shape: int) -> Tensor:
        """Numbers of the dtype's own, so that no conversion of them rounds."""
        values = torch.randn(shape, generator=self.source, dtype=torch.float64, device="cpu")
        return self.take(values.to(torch.float16).to(self.dtype))

    def uniform(self, *shape: int) -> Tensor:
        values = torch.rand(shape, generator=self.source, dtype=torch.float64, device="cpu")
        return self.take((values + 0.01).to(torch.float16).to(self.dtype))

    def gram(self, *shape: int) -> Tensor:
        factor = torch.randint(-2, 3, shape, generator=self.source, device="cpu").to(self.dtype)
        return self.take(factor @ factor.mT)

    def labels(self, *shape: int) -> Tensor:
        return torch.randint(0, CLASSES, shape, generator=self.source, device="cpu")

    @property
    def x(self) -> Tensor:
        return self.tensor(self.count, self.widths[0])

    @property
    def ensemble(self) -> Ensemble:
        smallest = [min(pair) for pair in zip(self.widths, self.widths[1:], strict=False)]
        ranks = [self.take(1 + share * (k - 1)) for k, share in zip(smallest, (0.4, 0.7, 0.5), strict=True)]
        norms = [self.take(norm) for norm in (1.3, 1.7, 0.8)]
        more = {"readout_norm": self.take(1.5), "negative_slope": self.take(self.slope)}
        return Ensemble(self.widths, ranks, norms, law=self.law, **more)

    def network(self, *outputs: int, biases: bool = False) -> Network:
        shapes = zip(self.widths[1:], self.widths, strict=False)
        weights = [self.tensor(self.batch, m, n) for m, n in shapes]
        readout = self.tensor(self.batch, *outputs, self.widths[-1])
        sizes = [*((n,) for n in self.widths[1:]), outputs]
        shifts = [self.tensor(self.batch, *size) for size in sizes] if biases else None
        return Network(weights, readout, shifts, self.slope)

    @property
    def module(self) -> nn.Module:
        """Linear layers, whose weights torch does not draw."""
        n, m, *_ = self.widths
        layers = [nn.utils.skip_init(nn.Linear, *pair, device="cpu") for pair in ((n, m), (m, CLASSES))]
        for layer in layers:
            layer.weight, layer.bias = (nn.Parameter(self.tensor(*p.shape)) for p in (layer.weight, layer.bias))
        return nn.Sequential(layers[0], nn.ReLU(), layers[1])

    @property
    def flow(self) -> gradient_flow.GradientFlow:
        return gradient_flow.GradientFlow(self.gram(self.batch, 4, 6))

    @property
    def circle(self) -> expressivity.Curve:
        return expressivity.circle(self.tensor(self.widths[0]), self.tensor(self.widths[0]))


def one_gap(shape, stable_rank):
    k = min(shape)
    return (1.0, math.sqrt((stable_rank - 1) / max(k - 1, 1))), (1, k - 1)


#: Each public function and method by the name of the module that defines it; another example of one follows a comma.
EXAMPLES: dict[str, Callable[[Given], object]] = {
    "arccos.angle": lambda g: arccos.angle(g.tensor(g.count, 4), g.tensor(g.count, 4)),
    "arccos.kappa0": lambda g: arccos.kappa0(g.uniform(g.count), g.take(g.slope)),
    "arccos.kappa1": lambda g: arccos.kappa1(g.uniform(g.count), g.take(g.slope)),
    "arccos.next_angle": lambda g: arccos.next_angle(g.uniform(g.count), g.take(g.slope)),
    "collapsed.frames.features": lambda g: collapsed.features(g.ensemble, g.x, g.batch, **g.made),
    "collapsed.norms.simulate": lambda g: collapsed.simulate(g.ensemble, g.batch, **g.made),
    "ensemble.Ensemble": lambda g: g.ensemble,
    "ensemble.Ensemble.participation_ranks": lambda g: g.ensemble.participation_ranks(),
    "ensemble.Ensemble.preserving": lambda g: g.ensemble.preserving().spectral_norms,
    "ensemble.Ensemble.quartic_traces": lambda g: g.ensemble.quartic_traces(),
    "ensemble.Ensemble.sample": lambda g: g.ensemble.sample(g.batch, **g.made),
    "ensemble.sample": lambda g: ensemble.sample(
        g.widths[:2], g.take(2.5), spectral_norm=g.take(1.3), batch=g.batch, **g.drawn
    ),
    "feedforward.activations": lambda g: feedforward.activations(g.network(CLASSES, biases=True), g.x),
    "feedforward.forward": lambda g: feedforward.forward(g.network(CLASSES, biases=True), g.x),
    "feedforward.gate": lambda g: feedforward.gate(g.tensor(g.count, 4), g.take(g.slope)),
    "feedforward.jacobian": lambda g: feedforward.jacobian(g.network(), g.x, chunk_size=2),
    "feedforward.propagate": lambda g: list(feedforward.propagate(g.network(), g.x.expand(g.batch, -1, -1))),
    "feedforward.read": lambda g: feedforward.read(
        g.network(CLASSES, biases=True), g.tensor(g.batch, g.count, g.widths[-1])
    ),
    "haar.orthogonal": lambda g: haar.orthogonal(max(g.widths), min(g.widths), batch=g.batch, **g.made),
    "haar.rotate": lambda g: haar.rotate(g.tensor(g.batch, *g.widths[:2]), **g.seeded),
    "init.module_": lambda g: list(init.module_(g.module, g.take(0.6), law=g.law, **g.seeded).parameters()),
    "init.module_, a batch": lambda g: init.module_(
        g.network(CLASSES, biases=True), g.take(0.6), law=g.law, spectral_norm=g.take(1.7), **g.seeded
    ),
    "init.stable_rank_": lambda g: init.stable_rank_(g.tensor(5, 2, 2), g.take(2.5), law=g.law, **g.seeded),
    "moments.feature.feature_norm": lambda g: moments.feature_norm(g.ensemble),
    "moments.feature.fluctuation_exponent": lambda g: moments.fluctuation_exponent(g.ensemble),
    "moments.growth.log_growth": lambda g: moments.log_growth(g.ensemble),
    "moments.jacobian.jacobian": lambda g: moments.jacobian(g.ensemble),
    "moments.kernel.kernel_moments": lambda g: moments.kernel_moments(
        g.widths,
        *(g.uniform(3) for _ in range(3)),
        readout_norm=g.take(1.5),
        negative_slope=g.take(g.slope),
    ),
    "moments.kernel.ntk": lambda g: moments.ntk(g.ensemble),
    "moments.transfer.gate_transfer": lambda g: moments.gate_transfer(4, g.take(0.6), g.take(0.5)),
    "moments.transfer.layer_transfer": lambda g: moments.layer_transfer(4, g.take(6.0), g.take(2.0)),
    "network.Network": lambda g: g.network(CLASSES, biases=True),
    "network.Network.cat": lambda g: Network.cat([g.network(), g.network()]),
    "network.Network.detach": lambda g: g.network().detach(),
    "network.Network.from_module": lambda g: Network.from_module(g.module),
    "network.Network.to": lambda g: g.network().to("cpu"),
    "network.Network.with_parameters": lambda g: (lambda net: net.with_parameters(net.parameters))(g.network()),
    "ntk.drawn.empirical": lambda g: ntk.empirical(
        g.network(CLASSES, biases=True), g.x, g.tensor(g.count, g.widths[0]), chunk_size=2
    ),
    "ntk.drawn.layers": lambda g: ntk.layers(g.network(), g.x, g.tensor(g.count, g.widths[0])),
    "ntk.limit.infinite": lambda g: ntk.infinite(g.ensemble, g.x, g.tensor(g.count, g.widths[0]), chunk_size=2),
    "rank.energy_range": lambda g: rank.energy_range(g.take(2.5), 3, 4),
    "rank.participation_rank": lambda g: rank.participation_rank(g.tensor(g.batch, *g.widths[:2])),
    "rank.quartic_range": lambda g: rank.quartic_range(g.take(2.5), 4),
    "rank.stable_rank": lambda g: rank.stable_rank(g.tensor(g.batch, *g.widths[:2])),
    "rank.truncation_bound": lambda g: rank.truncation_bound(g.take(2.5), 3),
    **{
        f"spectra.{law.__module__.rpartition('.')[2]}.{law.__name__}": lambda g, law=law: law(
            g.widths[:2], g.take(2.5), batch=g.batch, **g.made
        )
        for law in (
            *(spectra.two_level, spectra.projector, spectra.power_law, spectra.uniform_sphere),
            *(spectra.coulomb_gas, spectra.conditioned_gaussian),
        )
    },
    "spectra.coulomb.density": lambda g: spectra.coulomb.density(g.take(0.4), g.uniform(g.count), g.take(1.5)),
    "spectra.coulomb.quartic": lambda g: spectra.coulomb.quartic(g.take(0.4), g.take(1.5)),
    "spectra.law.deterministic": lambda g: spectra.deterministic(one_gap)(
        g.widths[:2], g.take(2.5), batch=g.batch, **g.made
    ),
    "spectra.law.mean_quartic_trace": lambda g: spectra.mean_quartic_trace(g.law, g.widths[:2], g.take(2.5)),
    "experiments.bounds.compression.compressed_size": lambda g: bounds.compressed_size(
        g.network(CLASSES), radius=g.take(3.0), margin=g.take(0.5)
    ),
    "experiments.bounds.compression.random_projection": lambda g: bounds.random_projection(
        g.tensor(g.batch, *g.widths[:2]), 3, **g.seeded
    ),
    "experiments.bounds.compression.truncate": lambda g: bounds.truncate(g.network(CLASSES), [3, 2, 1, 2]),
    "experiments.bounds.compression.truncation_error": lambda g: bounds.truncation_error(
        g.network(CLASSES), [3, 2, 1, 2], radius=g.take(3.0)
    ),
    "experiments.bounds.cushions.compression_bound": lambda g: bounds.compression_bound(
        g.network(CLASSES), g.x, g.labels(g.count), margin=g.uniform(g.batch)
    ),
    "experiments.bounds.cushions.interlayer_smoothness": lambda g: bounds.interlayer_smoothness(
        g.network(CLASSES), g.x, noise=g.take(0.3), **g.seeded
    ),
    "experiments.bounds.margins.margins": lambda g: bounds.margins(g.network(CLASSES), g.x, g.labels(g.count)),
    "experiments.bounds.norm.norm_bound": lambda g: bounds.norm_bound(
        g.network(CLASSES), g.x, g.labels(g.count), margin=g.uniform(g.batch), delta=g.take(0.1)
    ),
    "experiments.bounds.perturbation.perturbation": lambda g: bounds.perturbation(
        g.network(CLASSES), g.network(CLASSES), radius=g.take(3.0)
    ),
    "experiments.data.mnist": lambda g: data.mnist(g.count, dtype=g.dtype),
    "experiments.expressivity.along.kinks": lambda g: expressivity.kinks(g.network(), g.circle),
    "experiments.expressivity.curves.Curve.at": lambda g: g.circle.at(g.uniform(g.count)),
    "experiments.expressivity.curves.circle": lambda g: g.circle,
    "experiments.expressivity.curves.polyline": lambda g: expressivity.polyline(g.tensor(g.count, 4), closed=True),
    "experiments.expressivity.curves.segment": lambda g: expressivity.segment(g.tensor(g.count), g.tensor(g.count)),
    "experiments.expressivity.image.lengths": lambda g: expressivity.lengths(g.network(), g.circle),
    "experiments.expressivity.means.mean_gain": lambda g: expressivity.mean_gain(g.ensemble),
    "experiments.expressivity.means.mean_kinks": lambda g: expressivity.mean_kinks(g.ensemble, g.take(2.0)),
    "experiments.expressivity.means.mean_vertices": lambda g: expressivity.mean_vertices(g.ensemble, 2),
    "experiments.gradient_flow.dynamics.GradientDescent": lambda g: gradient_flow.GradientDescent(
        g.gram(g.batch, 4, 6), g.uniform(g.batch)
    ).losses(g.tensor(g.batch, 4), [0, 3]),
    "experiments.gradient_flow.dynamics.GradientFlow": lambda g: g.flow.largest_rate,
    "experiments.gradient_flow.least_squares.LeastSquares.changes": lambda g: g.flow.changes(
        g.tensor(g.batch, 3, 4), g.tensor(g.batch, 4, 2), [0.0, 0.5]
    ),
    "experiments.gradient_flow.least_squares.LeastSquares.losses": lambda g: g.flow.losses(
        g.tensor(g.batch, 4), g.uniform(g.batch, 2)
    ),
    "experiments.gradient_flow.least_squares.LeastSquares.residuals": lambda g: g.flow.residuals(
        g.tensor(g.batch, 4, 2), [g.take(0.5)]
    ),
    "experiments.gradient_flow.speed.time_factor": lambda g: gradient_flow.time_factor(
        g.ensemble, Ensemble(g.widths, 1.5)
    ),
    "experiments.training.fit.fit": lambda g: training.fit(
        g.network(CLASSES, biases=True),
        g.x,
        g.labels(g.count),
        rates=g.uniform(g.batch),
        steps=3,
        batch_size=5,
        scale=g.take(1.5),
        optimizer=training.adam,
    ),
    "experiments.training.losses.cross_entropy": lambda g: training.cross_entropy(
        g.tensor(g.batch, g.count, CLASSES), g.labels(g.count)
    ),
    "experiments.training.losses.squared": lambda g: training.squared(g.tensor(g.batch, g.count), g.tensor(g.count)),
    "experiments.training.rules.adam": lambda g: training.adam(g.tensor(g.batch, 4), {}, 2),
    "experiments.training.rules.sgd": lambda g: training.sgd(g.tensor(g.batch, 4), {}, 1),
}


def modules() -> dict[str, object]:
    """Public modules of the model and of the experiments; checks and figures are the notebooks' own."""
    names = [module.name for module in pkgutil.walk_packages(srlib.__path__, "srlib.")]
    kept = [name for name in names if not name.startswith(("srlib.check", "srlib.plotting")) and "._" not in name]
    return {name: importlib.import_module(name) for name in ["srlib", *kept]}


def public() -> dict[str, Callable]:
    """Public functions, classes and methods, by the name that :data:`EXAMPLES` knows them by."""
    found = {}
    for module in modules().values():
        for thing in (getattr(module, name) for name in getattr(module, "__all__", ())):
            if not callable(thing):
                continue
            found[f"{thing.__module__}.{thing.__qualname__}".removeprefix("srlib.")] = thing
    methods = {
        f"{label}.{name}": getattr(kind, name)
        for label, kind in found.items()
        if inspect.isclass(kind)
        for name, method in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(method) or isinstance(method, classmethod))
    }
    return found | methods


def function(label: str) -> Callable:
    """The function that an example calls."""
    return public()[label.partition(",")[0]]


def parts(value: object, *, derived: bool = True) -> Iterator[tuple[str, object]]:
    """Names and values of the tensors and numbers of a result, and of those that its properties derive from them."""
    if isinstance(value, Tensor | float | int):
        yield "", value
        return
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", range(len(value)))
        items = list(zip(names, value, strict=True))
    elif dataclasses.is_dataclass(value):
        made = [name for name, p in vars(type(value)).items() if isinstance(p, property | cached_property)]
        names = [field.name for field in dataclasses.fields(value)]
        names += [name for name in made if not name.startswith("_")] if derived else []
        items = [(name, getattr(value, name)) for name in names]
    else:
        items = []
    for name, item in items:
        yield from ((f"{name}.{rest}".rstrip("."), leaf) for rest, leaf in parts(item, derived=derived))


def tensors(value: object, **options: bool) -> dict[str, Tensor]:
    return {name: leaf for name, leaf in parts(value, **options) if isinstance(leaf, Tensor)}
