"""What surrounds the program: modules, presets of site and image, and over all of them the user's own variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.jobs.image import images_of
from aifa_hpc.sbatch.launch import Export, launch_variables
from aifa_hpc.sbatch.quoting import Raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.jobs.fit import Fit
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Modules, Site, Variable

# Kinds whose program runs in the batch script itself, once, on the first node.
_IN_SCRIPT = frozenset({"command"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Variables:
    """The variables of a job, by where they are set.

    Attributes:
        batch: In the batch script.
        task: In each task: what it is told about itself.
        node: In each task, and in what runs beside the tasks: what belongs to the node it is on.
    """

    batch: tuple[Export, ...]
    task: tuple[Export, ...]
    node: tuple[Export, ...]


def modules_of(job: Job, site: Site) -> tuple[tuple[str, ...], ...]:
    """``module`` commands, as words: the site's, those of the container's runtime, then the job's own."""
    runtime = site.container if job.container is not None else None
    recipes = [recipe for recipe in (site.modules, runtime.modules if runtime else None) if recipe is not None]
    return (*_module_lines(recipes), *(("module", "load", name) for name in job.modules))


def variables_of(fit: Fit) -> Variables:
    """Every variable once in each place; the user's value takes the place of a preset, and its note says of which."""
    job = fit.job
    batch: list[Export] = []
    node: list[Export] = []
    for line, per_task in _presets(fit):
        if line.name in job.env:
            batch.append(_yours(job, line))
        elif per_task and job.launch.kind not in _IN_SCRIPT:
            node.append(line)
        else:
            batch.append(line)
    said = {line.name for line in batch}
    launch = launch_variables(fit)
    batch += [_yours(job, line) for line in launch if line.name in job.env.keys() - said]
    said = {line.name for line in batch}
    batch += [Export(name=name, value=value) for name, value in job.env.items() if name not in said]
    task = [line for line in launch if line.name not in job.env]
    return Variables(batch=tuple(batch), task=tuple(task), node=tuple(node))


def _yours(job: Job, preset: Export) -> Export:
    replaced = preset.value.strip('"')
    return Export(name=preset.name, value=job.env[preset.name], note=f"yours, in place of {replaced}")


def _presets(fit: Fit) -> Iterator[tuple[Export, bool]]:
    """The presets that apply, each with whether it is set in tasks; an image's values take the place of the site's."""
    images = images_of(fit.job, fit.site)
    own = {
        name: Export(name=name, value=Raw(f'"{value}"'), note=f"For this image ({key}): {image.note or image.source}")
        for key, image in images.items()
        for name, value in image.variables.items()
    }
    for name, preset in fit.site.variables.items():
        if _applies(preset, fit.job) and name not in own:
            why = preset.note or preset.source
            line = Export(name=name, value=Raw(f'"{preset.value}"'), note=why, folder=preset.folder)
            yield line, preset.per_task
    for line in own.values():
        yield line, False


def _applies(preset: Variable, job: Job) -> bool:
    return (
        job.launch.kind in preset.kinds
        and (job.resources.gpus_per_node > 0 or not preset.gpu_only)
        and (job.container is not None or not preset.container_only)
    )


def _module_lines(recipes: list[Modules]) -> Iterator[tuple[str, ...]]:
    if any(recipe.purge for recipe in recipes):
        yield "module", "purge"
    for recipe in recipes:
        yield from (("module", "use", folder) for folder in recipe.use)
    for recipe in recipes:
        yield from (("module", "load", name) for name in recipe.load)
