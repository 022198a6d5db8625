"""Running a model whose scores stay on the device: ONNX Runtime's output handed to torch without a copy."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..errors import ModelError
from .onnx_session import parse_device
from .runner import Runner, Scores
from .spec import ModelSpec


class DeviceRunner(Runner):
    """Like :class:`Runner`, but `run` returns a torch tensor where the session computed it.

    The input travels to the device with the call; the output is bound on the device and shared through DLPack, so
    its memory lives as long as the tensor. ONNX Runtime works on a stream of its own and is waited for before the
    tensor is handed out.

    Args:
        device: "cuda" or "cuda:I"; "cpu" shares ONNX Runtime's host memory in the same way.
    Raises:
        ModelError: torch is not installed, or this onnxruntime cannot share its outputs.
    """

    def __init__(self, session: Any, spec: ModelSpec, device: str) -> None:
        super().__init__(session, spec)
        try:
            import torch
        except ImportError as exc:
            raise ModelError(
                f"scoring on {device} needs torch ({exc}); pip install 'alseg-fast[gpu]', or use --device cpu"
            ) from exc
        self._from_dlpack: Any = torch.utils.dlpack.from_dlpack
        self._kind, self._index = parse_device(device)

    def _run_bound(self, feed: NDArray[Any]) -> Scores:
        spec, binding = self._spec, self._binding
        with self._failures(feed.shape):
            binding.bind_input(spec.input_name, "cpu", 0, feed.dtype, feed.shape, feed.ctypes.data)
            binding.bind_output(spec.output_name, self._kind, self._index)
            binding.synchronize_inputs()
            self._session.run_with_iobinding(binding, self._options)
            binding.synchronize_outputs()
            value = binding.get_outputs()[0]
            # The binding must not hold the memory that the tensor now owns.
            binding.clear_binding_outputs()
        if not hasattr(value, "__dlpack__"):
            import onnxruntime

            raise ModelError(
                f"onnxruntime {onnxruntime.__version__} cannot share its outputs (OrtValue has no __dlpack__); "
                "install a newer onnxruntime-gpu, or use --device cpu"
            )
        if value.device_name().lower() != self._kind:
            raise ModelError(
                f"model {spec.path} left its output {spec.output_name!r} on {value.device_name()}, not on "
                f"{self._kind}; its last operators run elsewhere: export it again, or use --device cpu"
            )
        return self._from_dlpack(value)
