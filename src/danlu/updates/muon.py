"""Muon for hidden matrices with AdamW for the rest, as one torch optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from danlu.core.errors import RecipeError


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers behind one: the same parameter groups, state, `step` and state dictionary as any other.

    The groups and the state belong to this object; the two share them, so that a change of a group's `lr` here
    reaches them. Groups with `hidden_matrices` set go to Muon. RecipeError where there is none.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        rate: float,
        momentum: float,
        num_iterations: int,
        betas: tuple[float, float],
        eps: float,
        form: dict[str, Any],
    ) -> None:
        hidden = [group for group in groups if group.get("hidden_matrices")]
        others = [group for group in groups if not group.get("hidden_matrices")]
        if not hidden:
            raise RecipeError(
                "Muon moves the matrices between hidden layers, and this model has none: its matrices are "
                "embeddings, its first layer and its last. Use 'adamw', or a deeper model."
            )
        self.muon = torch.optim.Muon(
            hidden,
            lr=rate,
            weight_decay=0.0,
            momentum=momentum,
            ns_steps=num_iterations,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = (
            torch.optim.AdamW(others, lr=rate, betas=betas, eps=eps, weight_decay=0.0, **form)
            if others
            else None
        )
        groups_of_both = [*self.muon.param_groups, *(self.adamw.param_groups if self.adamw else [])]
        super().__init__(groups_of_both, {})
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # the overloads of torch say the same
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        if self.adamw:
            self.adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; it puts new groups and a new state in place, which the two then share."""
        super().load_state_dict(state_dict)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy needs; torch's own answer would leave the two optimizers out."""
        return {**super().__getstate__(), "muon": self.muon, "adamw": self.adamw}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        self.muon.state = self.state
        self.muon.param_groups = [group for group in self.param_groups if "ns_steps" in group]
        if self.adamw:
            self.adamw.state = self.state
            self.adamw.param_groups = [group for group in self.param_groups if "ns_steps" not in group]
