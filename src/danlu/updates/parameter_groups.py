"""Parameter groups: which parameters decay, and which are the hidden matrices that Muon moves."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from torch.nn.utils import parametrizations, parametrize

Role = Literal["hidden matrices", "other weights", "embeddings", "norms and biases"]

NORMS = (
    nn.modules.batchnorm._NormBase,  # batch and instance norm of any dimension
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """torch's parameter groups: `params`, `weight_decay`, `name` and `hidden_matrices`; frozen ones are left out.

    hidden matrices   decay; Muon's share: 2-D weights that are not the first and not the last of the model
    other weights     decay; the first and the last layer, kernels of convolutions
    embeddings        no decay: it would shrink the rows of rare tokens at every step, though no loss speaks for it
    norms and biases  no decay: they set scale and offset, few numbers that hardly overfit, and a decayed gain of
                      a normalisation is a smaller signal, not a simpler function

    First and last go by the order in which the model registers its modules. Groups without members are left out.
    """
    roles = parameter_roles(model)
    return [
        {
            "params": members,
            "weight_decay": weight_decay if decays(role) else 0.0,
            "name": role,
            "hidden_matrices": role == "hidden matrices",
        }
        for role in ("hidden matrices", "other weights", "embeddings", "norms and biases")
        if (members := [parameter for parameter, own in roles if own == role])
    ]


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters that decay: what L1, L2 and max-norm speak of."""
    return [parameter for parameter, role in parameter_roles(model) if decays(role)]


def decays(role: Role) -> bool:
    """Whether weight decay and penalties touch parameters of this role."""
    return role in ("hidden matrices", "other weights")


def parameter_roles(model: nn.Module) -> list[tuple[nn.Parameter, Role]]:
    """Every trainable parameter once, in the model's order, with its role; a tied one has its first place's."""
    roles: dict[nn.Parameter, Role] = {}
    matrices: list[nn.Parameter] = []  # tied ones at each of their places
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in roles:
                matrices += [parameter] if parameter.ndim > 1 else []
            elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                roles[parameter] = "embeddings"
                matrices.append(parameter)
            elif parameter.ndim < 2 or is_norm(module) or is_gain(module, name):
                roles[parameter] = "norms and biases"
            else:
                roles[parameter] = "hidden matrices" if parameter.ndim == 2 else "other weights"
                matrices.append(parameter)
    for outer in {0, len(matrices) - 1} if matrices else ():
        if roles[matrices[outer]] == "hidden matrices":
            roles[matrices[outer]] = "other weights"
    return [(parameter, role) for parameter, role in roles.items() if parameter.requires_grad]


def is_norm(module: nn.Module) -> bool:
    """Whether the module is a normalisation, of torch's or registered as one of danlu's."""
    part = getattr(type(module), "__part__", None)
    return isinstance(module, NORMS) or (part is not None and part.kind == "normalisation")


def is_gain(module: nn.Module, name: str) -> bool:
    """Whether the parameter is the length g of weight normalisation w = g v / |v|."""
    return (
        isinstance(module, parametrize.ParametrizationList)
        and isinstance(module[0], parametrizations._WeightNorm)
        and name == "original0"
    )
