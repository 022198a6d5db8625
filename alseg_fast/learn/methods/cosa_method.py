"""CoSA, one stage: the losses of a batch, the averaged network, and what both remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UsageError
from ..data.batch import Batch
from ..data.dataset import Dataset
from ..data.transforms import View
from ..losses.contrastive import contrastive_separation
from ..losses.energy import dense_energy_loss
from ..losses.swapped import cam_to_segmentation, segmentation_pseudo_labels, segmentation_to_cam
from ..maps.teacher import TeacherMaps, teacher_maps
from ..networks.outputs import NetworkOutputs
from ..networks.weak_network import WeakNetwork
from ..training.method import Losses
from .averaging import follow
from .cosa_labels import MapLabels, Thresholds, label_maps
from .cosa_options import Options
from .figures import judge
from .one_network import OneNetwork, add_up
from .tag_losses import tag_parts


class Cosa(OneNetwork):
    """Tags teach the classifier; its activation maps and the segmentation teach each other.

    The total is tag_weight * tags + aux_tag_weight * aux_tags and, from `warmup_steps` on, seg_weight * L_c2s +
    cam_weight * L_s2c + contrastive.weight * L_csc + energy.weight * energy.

    Args:
        network: with a tag head and a segmentation head.
        teacher: see `averaging.make_teacher`; it follows the network in every case, so that switching the parts on and
            off changes nothing else.
        single_tag: exactly one tag an image.
        class_of_tag: segmentation class of each tag.
        view: pictures at evaluation.
        options: see `cosa_options`.
    """

    def __init__(
        self,
        network: WeakNetwork,
        teacher: WeakNetwork,
        *,
        single_tag: bool,
        class_of_tag: Sequence[int],
        view: View,
        options: Options,
    ) -> None:
        super().__init__(network, head_lr_factor=options.head_lr_factor)
        self.teacher, self.single_tag, self.class_of_tag = teacher, single_tag, tuple(class_of_tag)
        self.view, self.options = view, options
        threshold = options.threshold
        self.main = Thresholds(threshold, low=threshold.low, high=threshold.high)
        self.aux = Thresholds(threshold, low=threshold.aux_low, high=threshold.aux_high)

    def start(self) -> None:
        self.network.train()
        self.teacher.eval()

    def losses(self, batch: Batch, step: int) -> Losses:
        options = self.options
        # The trained network's own maps come from a pass in eval mode, before the pass that has a gradient.
        assigned = self._assign(batch) if step >= options.warmup_steps and options.assign.by != "nobody" else None
        outputs = self.network(batch.strong if options.strong else batch.images, batch.tags)
        parts = tag_parts(
            outputs,
            batch,
            single_tag=self.single_tag,
            weight=options.tag_weight,
            aux_weight=options.aux_tag_weight,
        )
        if assigned is not None:
            parts |= self._swapped_parts(batch, outputs, assigned)
        return add_up(parts)

    def _assign(self, batch: Batch) -> TeacherMaps:
        options = self.options.assign
        network = self.network if options.by == "own" else self.teacher
        maps = teacher_maps(network, batch.images, batch.tags, scales=options.scales, flip=options.flip)
        if maps.aux_cams is None or options.aux_scales == "all":
            return maps
        size = (maps.cams.shape[2], maps.cams.shape[3])
        last = teacher_maps(network, batch.images, batch.tags, scales=options.scales[-1:], flip=options.flip, size=size)
        return maps._replace(aux_cams=last.aux_cams)

    def _swapped_parts(self, batch: Batch, outputs: NetworkOutputs, assigned: TeacherMaps) -> dict[str, Tensor]:
        options, assigning = self.options, self.options.assign
        if outputs.seg_logits is None or outputs.cams is None or assigned.seg_logits is None:
            raise UsageError(
                "cosa: network must have a tag head and a decoder; got one without. Set network.decoder to largefov or "
                "unet, or options.assign.by to nobody."
            )
        sources = [(self.main, assigned.cams)]
        if assigned.aux_cams is not None:
            sources.append((self.aux, assigned.aux_cams))
        for thresholds, cams in sources:
            thresholds.update(cams)
        size = (batch.images.shape[2], batch.images.shape[3]) if assigning.label_size == "images" else None
        labels = [self._label(source, batch, size) for source in (sources if assigning.aux else sources[:1])]
        towards_seg = [cam_to_segmentation(outputs.seg_logits, found.classes, found.weights) for found in labels]
        parts = {"cam_to_seg": options.seg_weight * torch.stack(towards_seg).mean()}
        if assigning.by == "teacher" and assigning.swap_back:
            parts["seg_to_cam"] = options.cam_weight * self._back(batch, outputs.cams, assigned.seg_logits)
        if options.contrastive.weight > 0:
            parts["contrastive"] = options.contrastive.weight * self._separate(batch, outputs.cams, sources[-1])
        if options.energy.weight > 0:
            parts["energy"] = options.energy.weight * self._energy(batch, outputs.seg_logits)
        return parts

    def _label(self, source: tuple[Thresholds, Tensor], batch: Batch, size: tuple[int, int] | None) -> MapLabels:
        thresholds, cams = source
        return label_maps(
            cams, batch.tags, batch.valid, thresholds, self.class_of_tag, self.options.reliability, size=size
        )

    def _back(self, batch: Batch, cams: Tensor, seg_logits: Tensor) -> Tensor:
        size = (cams.shape[2], cams.shape[3])
        targets = segmentation_pseudo_labels(
            seg_logits, batch.tags, self.class_of_tag, size, temperature=self.options.assign.temperature
        )
        inside = F.interpolate(batch.valid[:, None].to(cams.dtype), size, mode="nearest")[:, 0] > 0.5
        return segmentation_to_cam(cams, targets, batch.tags, inside, form=self.options.assign.back_form)

    def _separate(self, batch: Batch, cams: Tensor, source: tuple[Thresholds, Tensor]) -> Tensor:
        """The main maps, separated by what the auxiliary ones say (by themselves where there are none)."""
        options = self.options.contrastive
        labels = self._label(source, batch, (cams.shape[2], cams.shape[3]))
        return contrastive_separation(
            cams,
            labels.tags,
            labels.perplexity,
            epsilon=options.epsilon,
            temperature=options.temperature,
            similarity=options.similarity,
            max_anchors=options.max_anchors,
            scope=options.scope,
        )

    def _energy(self, batch: Batch, seg_logits: Tensor) -> Tensor:
        options = self.options.energy
        return dense_energy_loss(
            batch.rgb,
            seg_logits.sigmoid() if seg_logits.shape[1] == 1 else seg_logits.softmax(dim=1),
            valid=batch.valid,
            sigma_rgb=options.sigma_rgb,
            sigma_xy=options.sigma_xy,
            scale=options.scale,
            normalization=options.normalization,
        )

    def after_step(self, step: int) -> None:
        follow(self.teacher, self.network, self.options.teacher.decay, buffers=self.options.teacher.buffers)

    @property
    def judged(self) -> WeakNetwork:
        """The network that is evaluated and exported."""
        return self.teacher if self.options.evaluate == "teacher" else self.network

    def evaluate(self, data: Dataset) -> dict[str, float]:
        return judge(self.judged, data, self.view, threshold=self.main.middle, score=self.options.score)

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "teacher": self.teacher.state_dict(),
            "main": self.main.state_dict(),
            "aux": self.aux.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.teacher.load_state_dict(state["teacher"])
        self.main.load_state_dict(state["main"])
        self.aux.load_state_dict(state["aux"])
