from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations

from danlu.core.parts import part
from danlu.updates.parameter_groups import parameter_groups, weights


def names(model, **options):
    """Names of the parameters in each group."""
    known = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, **{"weight_decay": 0.1} | options)
    return {group["name"]: [known[parameter] for parameter in group["params"]] for group in groups}


def decays(model):
    return {group["name"]: group["weight_decay"] for group in parameter_groups(model, weight_decay=0.1)}


class Language(nn.Module):
    def __init__(self, *, tied=False):
        super().__init__()
        self.tokens = nn.Embedding(10, 4)
        self.block = nn.TransformerEncoderLayer(4, 2, 8)
        self.norm = nn.RMSNorm(4)
        self.head = nn.Linear(4, 10, bias=False)
        if tied:
            self.head.weight = self.tokens.weight


def test_norms_biases_and_embeddings_do_not_decay():
    found = names(Language())
    assert found["hidden matrices"] == [
        "block.self_attn.in_proj_weight",
        "block.self_attn.out_proj.weight",
        "block.linear1.weight",
        "block.linear2.weight",
    ]
    assert found["other weights"] == ["head.weight"]
    assert found["embeddings"] == ["tokens.weight"]
    assert all("norm" in name or "bias" in name for name in found["norms and biases"])
    assert decays(Language()) == {
        "hidden matrices": 0.1,
        "other weights": 0.1,
        "embeddings": 0.0,
        "norms and biases": 0.0,
    }
    assert sum(map(len, found.values())) == len(list(Language().parameters()))


def test_a_tied_head_is_an_embedding_once():
    found = names(Language(tied=True))
    assert found["embeddings"] == ["tokens.weight"] and "other weights" not in found
    assert len(found["hidden matrices"]) == 4  # the last matrix of the block is not the model's


def test_frozen_parameters_are_left_out():
    model = Language()
    for parameter in model.block.parameters():
        parameter.requires_grad_(False)
    assert names(model) == {
        "other weights": ["head.weight"],
        "embeddings": ["tokens.weight"],
        "norms and biases": ["norm.weight"],
    }


def test_convolutions_and_the_outer_layers_decay_and_are_not_muons():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 2)
    )
    assert names(model) == {
        "hidden matrices": ["3.weight"],
        "other weights": ["0.weight", "4.weight"],
        "norms and biases": ["0.bias", "1.weight", "1.bias", "3.bias", "4.bias"],
    }
    assert [tuple(weight.shape) for weight in weights(model)] == [(4, 1, 3, 3), (8, 16), (2, 8)]


def test_gains_of_a_normalisation_over_images_and_of_weight_norm_do_not_decay():
    @part("normalisation", "scaled", summary="")
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3, 3))

    model = nn.Sequential(
        nn.Linear(2, 2),
        parametrizations.weight_norm(nn.Linear(2, 3)),
        nn.LayerNorm([3, 3]),
        Scaled(),
        nn.Linear(3, 1),
    )
    found = names(model)
    assert "1.parametrizations.weight.original1" in found["hidden matrices"]
    kept = set(found["norms and biases"])
    assert {"1.parametrizations.weight.original0", "2.weight", "3.gain"} <= kept


def test_a_linear_model_has_no_hidden_matrix():
    assert set(names(nn.Linear(3, 1))) == {"other weights", "norms and biases"}
