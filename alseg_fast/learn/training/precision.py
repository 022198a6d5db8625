"""Mixed precision on CUDA: what is computed in 16 bits, and the scaling that float16 needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import AlsegError, UsageError

_MOST_SKIPPED = 50  # steps in a row; a scale that starts too high halves each time


class Precision:
    """One stage's autocast and gradient scaling.

    Args:
        amp: as `StageConfig.amp`.
        device: where the stage runs.
    Raises: UsageError: mixed precision is asked for on the CPU.
    """

    def __init__(self, amp: str, device: torch.device) -> None:
        cuda = device.type == "cuda"
        if amp in ("bfloat16", "float16") and not cuda:
            raise UsageError(f"amp must be auto or off on the CPU; got {amp}; it needs a CUDA device")
        if amp == "auto" and cuda:
            with torch.cuda.device(device):
                amp = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        self.kind = amp if cuda else "off"
        self._device = device
        self._scaler = torch.amp.GradScaler("cuda") if self.kind == "float16" else None
        self._skipped = 0

    def autocast(self) -> AbstractContextManager[Any]:
        dtype = torch.float16 if self.kind == "float16" else torch.bfloat16
        return torch.autocast(self._device.type, dtype=dtype, enabled=self.kind != "off")

    def backward(
        self, loss: Tensor, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], clip: float | None
    ) -> float | None:
        """Gradients, unscaled and clipped; returns their norm before the clipping.

        None: the norm is not finite because the scale was too high; `step` leaves this step out, as scaling means to.
        Raises: AlsegError: that went on for too many steps.
        """
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.unscale_(optimiser)
        norm = float(nn.utils.clip_grad_norm_(parameters, float("inf") if clip is None else clip))
        if self._scaler is None:
            return norm
        if norm - norm == 0:
            self._skipped = 0
            return norm
        self._skipped += 1
        if self._skipped > _MOST_SKIPPED:
            raise AlsegError(f"the gradient overflows float16 in {self._skipped} steps in a row; set amp = off")
        return None

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        if self._scaler is None:
            optimiser.step()
        else:
            self._scaler.step(optimiser)
            self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        scale = {} if self._scaler is None else self._scaler.state_dict()
        return {"kind": self.kind, "skipped": self._skipped, "scale": scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._skipped = int(state["skipped"])
        if self._scaler is not None and state["scale"]:
            self._scaler.load_state_dict(dict(state["scale"]))
