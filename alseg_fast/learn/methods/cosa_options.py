"""Every part of CoSA with its switch; the defaults are the published values where there are any (see each class)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..training.config import Settings


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


NotNegative = Annotated[float, Field(ge=0)]
Inside = Annotated[float, Field(gt=0, lt=1)]
Scales = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(_tuple), Field(min_length=1)]


class AssignOptions(Settings):
    """Who assigns, and over which views.

    Attributes:
        by: "teacher", the swap: the averaged network's activation maps label the segmentation, its segmentation labels
            the activation maps. "own": no swap, the trained network's own activation maps (in eval mode, of the weak
            view) label its segmentation. "nobody": neither; with the losses of tags alone this is the plain classifier.
        scales, flip: of the assigning passes (published code: 1, 0.5, 1.5, each mirrored too).
        aux_scales: "last" is the published code's defect, where only the last scale counts for the auxiliary maps.
        aux: also the auxiliary maps label the segmentation, 50:50 with the main ones (published code).
        label_size: labels are made on the grid of the "maps" or at the size of the "images". Not told; "images" is
            how the code that CoSA builds upon does it, "maps" costs less and is what reliability weights are drawn on.
        swap_back: of "teacher": its segmentation also labels the activation maps (L_s2c); off: only L_c2s.
        temperature: of the softmax over segmentation logits (published code: 0.01, practically one-hot).
        back_form: "published", on ReLU(CAM), which cannot fall below ln 2, or "signed", on the CAM itself.
    """

    by: Literal["teacher", "own", "nobody"] = "teacher"
    scales: Scales = (1.0, 0.5, 1.5)
    flip: bool = True
    aux_scales: Literal["all", "last"] = "all"
    aux: bool = True
    label_size: Literal["maps", "images"] = "maps"
    swap_back: bool = True
    temperature: Annotated[float, Field(gt=0)] = 0.01
    back_form: Literal["published", "signed"] = "published"


class TeacherOptions(Settings):
    """The assignment network.

    Attributes:
        decay: of the moving average (published code: 0.9994 at 32,000 steps).
        start: "separate_heads" is the published code's: heads begin with another initialisation than the trained ones.
        buffers: running statistics of batch normalisation, see `averaging.follow`.
    """

    decay: Annotated[float, Field(ge=0, le=1)] = 0.9994
    start: Literal["copy", "separate_heads"] = "copy"
    buffers: Literal["copy", "average"] = "copy"


class ThresholdOptions(Settings):
    """Where a normalised activation map is foreground.

    Attributes:
        kind: "fixed": `low` and `high`, ignore between (published logs: 0.25 or 0.2, and 0.7; COCO 0.65); "gmm": fitted
            to the maps of the last images, see `alseg_fast.RunningThreshold`.
        aux_low, aux_high: fixed thresholds of the auxiliary maps.
        components: of the mixture: 2, one threshold and no band (the paper); 3, two thresholds (the published code).
        memory, period, momentum: images, steps between fits, moving average of the threshold. The paper tells none.
        drop_below: values that the fit leaves out (published code: 0.05).
        centre: where perplexity is measured from with fixed thresholds.
    """

    kind: Literal["fixed", "gmm"] = "fixed"
    low: Inside = 0.25
    high: Inside = 0.7
    aux_low: Inside = 0.25
    aux_high: Inside = 0.7
    components: Literal[2, 3] = 2
    memory: Annotated[int, Field(ge=1)] = 200
    period: Annotated[int, Field(ge=1)] = 100
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    drop_below: Annotated[float, Field(ge=0, lt=1)] = 0.05
    centre: Inside = 0.45

    @model_validator(mode="after")
    def _check(self) -> ThresholdOptions:
        if self.low > self.high or self.aux_low > self.aux_high:
            raise ValueError(
                f"low must be at most high; got {self.low:g}, {self.high:g} and {self.aux_low:g}, {self.aux_high:g}"
            )
        return self


class ReliabilityOptions(Settings):
    """Weights of pixels by the perplexity of their activation (RAW). alpha and beta are told nowhere.

    Attributes:
        use: weight the loss of the segmentation.
        form: "reciprocal", higher for lower perplexity, as the words of the talk have it; "printed", its formula.
    """

    use: bool = True
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta: Annotated[float, Field(gt=0)] = 1.0
    form: Literal["reciprocal", "printed"] = "reciprocal"


class ContrastiveOptions(Settings):
    """Separation of the activation vectors of sure pixels; weight, epsilon, temperature, similarity are told nowhere.

    Attributes:
        weight: 0 leaves it out.
        epsilon: pixels of perplexity at most this take part.
        max_anchors: a set; drawn at random where there are more.
        scope: pixels are compared within an "image" or over the "batch".
    """

    weight: NotNegative = 0.05
    epsilon: Annotated[float, Field(gt=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.5
    similarity: Literal["cosine", "dot", "negative_squared_distance"] = "cosine"
    max_anchors: Annotated[int, Field(ge=1)] = 256
    scope: Literal["image", "batch"] = "image"


class EnergyOptions(Settings):
    """The dense energy of the segmentation, on the bilateral lattice at `scale` of the size.

    Attributes:
        weight: 0 leaves it out. Published: 0.05 times 1e-7 with normalization "none".
        normalization: "symmetric", the share of a pixel's neighbourhood that disagrees with it, whatever the size;
            "none", the published sum over pairs.
        sigma_rgb, sigma_xy: grey levels, pixels.
        scale: of the sides.
    """

    weight: NotNegative = 0.05
    normalization: Literal["symmetric", "none"] = "symmetric"
    sigma_rgb: Annotated[float, Field(gt=0)] = 15.0
    sigma_xy: Annotated[float, Field(gt=0)] = 100.0
    scale: Annotated[float, Field(gt=0, le=1)] = 0.5


class Options(Settings):
    """CoSA. Defaults: the published code's weights with the parts that only the paper has switched on.

    Attributes:
        warmup_steps: steps with the losses of tags alone (VOC 6,000, COCO 10,000).
        tag_weight, aux_tag_weight: classification losses.
        seg_weight: of L_c2s; cam_weight: of L_s2c.
        head_lr_factor: learning rate of everything but the encoder (published: 10).
        strong: the trained network sees the strongly augmented view.
        evaluate: the network that is judged and exported.
        score: what early stopping and the best checkpoint go by.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 6000
    tag_weight: NotNegative = 1.0
    aux_tag_weight: NotNegative = 1.0
    seg_weight: NotNegative = 0.1
    cam_weight: NotNegative = 0.05
    head_lr_factor: Annotated[float, Field(gt=0)] = 10.0
    strong: bool = True
    evaluate: Literal["trained", "teacher"] = "trained"
    score: Literal["segmentation", "cam"] = "segmentation"
    assign: AssignOptions = AssignOptions()
    teacher: TeacherOptions = TeacherOptions()
    threshold: ThresholdOptions = ThresholdOptions()
    reliability: ReliabilityOptions = ReliabilityOptions()
    contrastive: ContrastiveOptions = ContrastiveOptions()
    energy: EnergyOptions = EnergyOptions()
