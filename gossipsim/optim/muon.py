"""Muon: momentum, orthogonalised, for matrices; Adam for everything else.

    M <- mu M + (1 - mu) g                              from zero
    U  = mu M + (1 - mu) g  with Nesterov, else M
    W <- (1 - lr wd) W - lr c D,   D = orthogonalize(U)

A step has the same length in all directions of a matrix, whatever the gradient's singular values. For a weight of A
outputs and B inputs, c = sqrt(max(1, A/B)) ("original") or 0.2 sqrt(max(A, B)) ("match_rms_adamw": a step as long as
one of AdamW, so that its learning rates carry over). A convolution's weight is the matrix (out, in k k).

In a network: the orthogonalisation sees the direction of a local gradient, not its length. Local steps followed by
gossip converge to the wrong point when the nodes differ, also on the complete graph: the scalars (x - 0)^2, (x - 0)^2,
(x - 3)^2 meet at the median 0, not at the mean 1. Behind gradient tracking they converge to the right one (DeMuon).

Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024, https://kellerjordan.github.io/posts/muon;
Liu et al., Muon is Scalable for LLM Training, 2025, arXiv 2502.16982 (match_rms_adamw, weight decay); DeMuon: He et
al., 2025, arXiv 2510.01377. On matrices it is torch.optim.Muon, to the bit, with ns_dtype="bfloat16".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from gossipsim.optim.constrained import Params
from gossipsim.optim.constraints.base import as_matrix, matrix_shape, with_rows
from gossipsim.optim.orthogonalize import Method, check_method, orthogonalize

_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
_NO_MATRICES = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)


def weight_matrices(model: nn.Module) -> tuple[list[nn.Parameter], nn.Parameter | None]:
    """The weights of two or more dimensions, in the order of ``named_parameters()``, and the output layer's.

    Tables (nn.Embedding, nn.EmbeddingBag) and gains of normalisation layers are not among them. The output layer is
    the one whose weight comes last; where it is tied to an embedding it is a table too, and not among the first.
    """
    named = model.named_parameters(remove_duplicate=False)
    owners = [(p, model.get_submodule(name.rpartition(".")[0])) for name, p in named if p.ndim >= 2]
    tables = {p for p, owner in owners if isinstance(owner, _NO_MATRICES)}
    weights = [p for p, owner in owners if not isinstance(owner, _NO_MATRICES)]
    return [p for p in dict.fromkeys(weights) if p not in tables], weights[-1] if weights else None


def muon_groups(model: nn.Module, *, head: bool = False) -> list[dict[str, Any]]:
    """The trainable parameters as groups, those for Muon and those for Adam (``use_muon``); none of them empty.

    Muon gets the weights of two or more dimensions (:func:`weight_matrices`) except the output layer, unless that is
    the only one. Everything else goes to Adam: the output layer, embeddings, biases, gains, vectors.

    Args:
        head: give the output layer to Muon as well.

    >>> from gossipsim.models import MLP
    >>> model = MLP(input_shape=(1, 8, 8), num_classes=10, hidden=[32])
    >>> [(group["use_muon"], [tuple(p.shape) for p in group["params"]]) for group in muon_groups(model)]
    [(True, [(32, 64)]), (False, [(32,), (10, 32), (10,)])]
    """
    matrices, output = weight_matrices(model)
    if not matrices:
        warnings.warn(f"Muon: {type(model).__name__} has no matrices, so that Adam gets all parameters", stacklevel=2)
    chosen = set(matrices if head or len(matrices) == 1 else [p for p in matrices if p is not output])
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p in chosen], "use_muon": True},
        {"params": [p for p in trainable if p not in chosen], "use_muon": False},
    ]
    return [group for group in groups if group["params"]]


class Muon(torch.optim.Optimizer):
    """Muon for matrices, AdamW (Adam where its weight decay is 0) for other parameters.

    Args:
        params: tensors, named tensors, or parameter groups. A group says ``use_muon``, and its other options then go
            by their names in that method: ``lr``, ``weight_decay``, ``momentum`` ...; ``lr``, ``betas``, ``eps``,
            ``weight_decay``. One that does not say is split by dimensions, two or more to Muon, and takes options by
            the names below. :meth:`for_model` and :func:`muon_groups` know the output layer and embeddings too.
        lr: Muon's learning rate; of the Adam groups it is `adam_lr`. An lr_scheduler scales each group's own.
        momentum: mu in [0, 1), the weight of the old value.
        nesterov: orthogonalise mu M + (1 - mu) g instead of M.
        weight_decay: wd, decoupled, of Muon's parameters.
        orthogonalization: a method of :func:`~gossipsim.optim.orthogonalize.orthogonalize`.
        ns_steps, ns_dtype: its steps (None: 5), and its arithmetic (None: the gradient's dtype), "float32",
            "float64" or "bfloat16".
        adjust_lr: the factor c, see the top of this module.
        adam_lr, adam_betas, adam_eps, adam_weight_decay: of the others; the decay is decoupled. With 3e-3 a CNN has
            97.5 % of the held-out digits right after five epochs, with 1e-3 97.0.

    Raises:
        ValueError: for a parameter out of range.
    """

    lmo_based: ClassVar[bool] = True
    """As for constrained optimizers: the direction goes through the oracle of the spectral ball, which sees where a
    gradient points and not how long it is; under gossip it needs gradient tracking where the nodes differ."""

    stacked: bool = False
    """Whether parameters are (rows, *shape), see :mod:`gossipsim.optim.stacking`."""

    def __init__(
        self,
        params: Params,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        orthogonalization: Method = "newton_schulz",
        ns_steps: int | None = None,
        ns_dtype: Literal["float32", "float64", "bfloat16"] | None = None,
        adjust_lr: Literal["original", "match_rms_adamw"] = "original",
        adam_lr: float = 3e-3,
        adam_betas: Sequence[float] = (0.9, 0.999),
        adam_eps: float = 1e-8,
        adam_weight_decay: float = 0.0,
    ) -> None:
        self._muon_options: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "orthogonalization": orthogonalization,
            "ns_steps": ns_steps,
            "ns_dtype": ns_dtype,
            "adjust_lr": adjust_lr,
        }
        self._adam_options: dict[str, Any] = {
            "lr": adam_lr,
            "betas": tuple(adam_betas),
            "eps": adam_eps,
            "weight_decay": adam_weight_decay,
        }
        _check_muon(self._muon_options)
        _check_adam(self._adam_options)
        super().__init__(params, {"lr": lr})

    @classmethod
    def for_model(cls, model: nn.Module, *, head: bool = False, **params: Any) -> Self:
        """The optimizer of a model's trainable parameters, divided by :func:`muon_groups`."""
        return cls(muon_groups(model, head=head), **params)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch; a group that does not say `use_muon` becomes up to two."""
        for group in [param_group] if "use_muon" in param_group else _split(param_group):
            own = self._muon_options if group["use_muon"] else self._adam_options
            anywhere = {*self._muon_options, *self._adam_options, *(f"adam_{name}" for name in self._adam_options)}
            misplaced = ", ".join(sorted(anywhere.difference(own).intersection(group)))
            if misplaced:
                raise ValueError(
                    f"{misplaced}: no option of a parameter group with use_muon={group['use_muon']}; its options are "
                    f"{', '.join(own)}"
                )
            super().add_param_group(own | group)
            (_check_muon if group["use_muon"] else _check_adam)(self.param_groups[-1])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for every parameter that has a gradient; returns the closure's loss, where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            members = [p for p in group["params"] if p.grad is not None]
            if not group["use_muon"]:
                self._adam(members, group)
                continue
            for p in members:
                self._muon(p, p.grad, group)
        return loss

    def _muon(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        g = with_rows(g) if self.stacked else g
        m = state["momentum"].lerp_(g, 1 - group["momentum"])
        u = g.lerp(m, group["momentum"]) if group["nesterov"] else m
        dtype = None if group["ns_dtype"] is None else _DTYPES[group["ns_dtype"]]
        p.mul_(1 - group["lr"] * group["weight_decay"])
        for x, direction in zip(p, u, strict=True) if self.stacked else [(p, u)]:
            d = orthogonalize(as_matrix(direction), group["orthogonalization"], steps=group["ns_steps"], dtype=dtype)
            x.add_(d.view(x.shape), alpha=-group["lr"] * _factor(group["adjust_lr"], x))

    def _adam(self, members: list[Tensor], group: dict[str, Any]) -> None:
        for p in members:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        kept = [self.state[p] for p in members]
        adam(
            members,
            [p.grad for p in members if p.grad is not None],
            [state["exp_avg"] for state in kept],
            [state["exp_avg_sq"] for state in kept],
            [],
            [state["step"] for state in kept],
            decoupled_weight_decay=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def __getstate__(self) -> dict[str, Any]:
        names = ("_muon_options", "_adam_options", "stacked")
        own = {name: getattr(self, name) for name in names}
        return {**super().__getstate__(), **own}


def _factor(rule: str, p: Tensor) -> float:
    """c, see the top of this module."""
    rows, columns = matrix_shape(p.shape)
    if rule == "original":
        return math.sqrt(max(1, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns))


def _split(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The group's matrices and its other parameters as groups of their own, with the options of each."""
    params = group["params"]
    if isinstance(params, set):
        raise ValueError("params must be in an order that is the same in every run: give a list, not a set")
    entries = [params] if isinstance(params, Tensor) else list(params)
    matrices = [entry for entry in entries if _tensor(entry).ndim >= 2]
    rest = [entry for entry in entries if _tensor(entry).ndim < 2]
    adam_names = [name for name in group if name.startswith("adam_")]
    muon_names = [name for name in group if name not in ("params", *adam_names)]
    for part, names, kind in ((matrices, muon_names, "matrix"), (rest, adam_names, "parameter for Adam")):
        if names and not part:
            raise ValueError(f"{', '.join(names)}: the parameter group has no {kind}: say use_muon, true or false")
    groups = [
        {"params": matrices, "use_muon": True, **{name: group[name] for name in muon_names}},
        {"params": rest, "use_muon": False, **{name.removeprefix("adam_"): group[name] for name in adam_names}},
    ]
    return [part for part in groups if part["params"]]


def _tensor(entry: Tensor | tuple[str, Tensor]) -> Tensor:
    return entry if isinstance(entry, Tensor) else entry[1]


def _check_muon(group: dict[str, Any]) -> None:
    check_method(group["orthogonalization"], group["ns_steps"])
    if group["ns_dtype"] is not None:
        if group["ns_dtype"] not in _DTYPES:
            raise ValueError(f"ns_dtype must be one of {', '.join(_DTYPES)} or null, got {group['ns_dtype']!r}")
        check_method(group["orthogonalization"], dtype=_DTYPES[group["ns_dtype"]])
    if not 0 <= group["momentum"] < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {group['momentum']}")
    if group["adjust_lr"] not in ("original", "match_rms_adamw"):
        raise ValueError(f'adjust_lr must be "original" or "match_rms_adamw", got {group["adjust_lr"]!r}')
    for p in group.get("params", []):
        if p.ndim == 0:
            raise ValueError("use_muon: a number is no matrix: leave scalars to Adam")
    _check_at_least_zero("", group)


def _check_adam(group: dict[str, Any]) -> None:
    if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"adam_betas must be two numbers in [0, 1), got {group['betas']}")
    if not 0 <= group["eps"] < math.inf:
        raise ValueError(f"adam_eps must be a number >= 0, got {group['eps']}")
    _check_at_least_zero("adam_", group)


def _check_at_least_zero(prefix: str, group: dict[str, Any]) -> None:
    for name in ("lr", "weight_decay"):
        if not 0 <= group[name] < math.inf:
            raise ValueError(f"{prefix}{name} must be a number >= 0, got {group[name]}")
