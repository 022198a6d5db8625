"""CoSA, single stage: tags, activation maps and segmentation learn together; every part can be switched off.

An ablation is one config with settings, each row adding to the one before:

    plain activation maps       options.assign.by=nobody
    + fitted threshold          options.threshold.kind=gmm
    + labels from maps          options.assign.by=own
    + reliability weights       options.reliability.use=true
    + contrastive separation    options.contrastive.weight=0.05
    + swapped assignments       options.assign.by=teacher
"""

from __future__ import annotations

from typing import Any

from ..training.job import Job, Outcome
from .averaging import make_teacher
from .cosa_method import Cosa
from .cosa_options import Options
from .figures import Figures, cam_figures, segmentation_figures
from .map_masks import RefineOptions, fit_maps

__all__ = ["Options", "run"]


def run(job: Job, options: Options) -> Outcome:
    """One stage, "cosa"; exports segmentation and activation maps of the network that `options.evaluate` names.

    Its activation maps are judged at the fixed threshold (`options.threshold.centre`) and at the one that is fitted to
    its maps of the training images afterwards, whatever the losses used.
    """
    train = job.data.train.with_labels(())
    network = job.build_network()
    method = Cosa(
        network,
        make_teacher(network, options.teacher.start, seed=job.seed("weights", "teacher")),
        single_tag=train.single_tag,
        class_of_tag=train.class_of_tag,
        view=job.view,
        options=options,
    )
    result = job.train("cosa", method, job.make_batches(train, "cosa", strong=options.strong))
    chosen = options.threshold
    fitted = job.once("threshold", lambda: _fit(job, method))
    figures: Figures = {}
    for name, threshold in (("fixed threshold", chosen.centre), ("fitted threshold", fitted["threshold"])):
        figures |= cam_figures(job, method.judged, threshold=threshold, name=name, training=True)
    figures |= segmentation_figures(job, method.judged, threshold=0.5, training=True)
    job.export(method.judged)
    job.export(method.judged, head="cam")
    low, high = method.main.band
    facts: dict[str, Any] = {"fixed": chosen.centre, "fitted": fitted, "running": {"low": low, "high": high}}
    return Outcome(figures, {"steps": result.steps, "seconds": result.seconds, **facts})


def _fit(job: Job, method: Cosa) -> dict[str, Any]:
    """The mixture over the maps of the training images, by the network that is judged."""
    options = method.options.threshold
    refine = RefineOptions(scales=(1.0,), flip=False)
    found = fit_maps(
        method.judged,
        job.data.train,
        job.view,
        refine,
        components=options.components,
        drop_below=options.drop_below,
        previous=method.main.band if options.components == 3 else method.main.middle,
    )
    return {"threshold": found.threshold, "low": found.low, "high": found.high, "status": found.status}
