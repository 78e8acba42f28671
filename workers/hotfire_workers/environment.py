"""The worker as the report tells of it: versions, device, launcher, and what was emulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hotfire.rules.evidence import Adaptation, Environment, Trial
from hotfire_workers.adapt import Adapted
from hotfire_workers.budget import Budget
from hotfire_workers.job import Job
from hotfire_workers.library_sets import Libraries, LibrarySet
from hotfire_workers.prepare import Prepared
from hotfire_workers.slots import Slot


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerFacts:
    """What is known of the training environment before a trial runs."""

    versions: dict[str, str] = field(default_factory=dict)
    extension_lock: str | None = None
    pool: str | None = None
    library_sets: tuple[LibrarySet, ...] = ()

    @property
    def libraries(self) -> Libraries:
        """All that a trial can run with."""
        return Libraries(own=self.versions, sets=self.library_sets)


def describe(
    facts: WorkerFacts,
    *,
    slot: Slot,
    budget: Budget,
    trials: Sequence[Trial],
    job: Job,
    adapted: Adapted | None,
    prepared: Prepared | None,
) -> Environment:
    """The environment as far as the trials so far tell."""
    launchers = sorted({t.launcher for t in trials if t.launcher}, reverse=True)
    emulated = emulated_words(adapted, job, slot) if adapted else []
    for trial in trials:
        emulated += trial.facts.get("emulated") or []
    emulated += [
        f"a shallow copy ran: {change.after} of {change.before} layers, the same widths; memory was judged by the "
        "forecast alone"
        for change in shallow_copy(prepared)
    ]
    return Environment(
        # What the ranks themselves report is nearer to the truth.
        versions=facts.versions | next((t.versions for t in trials if t.versions), {}),
        offered={name: facts.libraries.offered(name) for name in facts.libraries.names},
        device=slot.device,
        launcher=", ".join(launchers) or None,
        emulated=list(dict.fromkeys(emulated)),
        pool=facts.pool,
        extension_lock=facts.extension_lock,
        budget_spent=budget.is_short,
        not_run=list(budget.not_run),
        budget_needed_s=budget.needed_s,
    )


def adaptations(adapted: Adapted, prepared: Prepared | None) -> list[Adaptation]:
    """Everything that the worker changed about a job so that it runs here."""
    return [*adapted.adaptations, *shallow_copy(prepared), *sample_adaptations(prepared)]


def shallow_copy(prepared: Prepared | None) -> list[Adaptation]:
    """The adaptation of a model that does not fit into the slot; none if it does."""
    if prepared is None or (layers := prepared.shallow_layers) is None or prepared.forecast is None:
        return []
    return [
        Adaptation(
            path="/model/num_layers",
            before=layers[0],
            after=layers[1],
            reason=f"the whole model does not fit into this slot: {prepared.forecast.words}",
        )
    ]


def sample_adaptations(prepared: Prepared | None) -> list[Adaptation]:
    """What of the job's use of its rows is not run in trials."""
    data = prepared.data if prepared is not None else None
    if data is None:
        return []
    changes = []
    if data.format == "PREFERENCE":
        changes.append(
            Adaptation(
                path="/data/format",
                before="preference pairs",
                after="their chosen side",
                reason="trials train on the chosen answers with cross-entropy; the rejected side and the loss over "
                "pairs (DPO and its kin) are not run",
            )
        )
    if why := data.extra.get("why_not_packed"):
        changes.append(Adaptation(path="/training/packing", before=True, after=False, reason=why))
    return changes


def emulated_words(adapted: Adapted, job: Job, slot: Slot) -> list[str]:
    """What is emulated, one sentence each."""
    cluster = job.evidence.cluster
    words = []
    if slot.is_cpu:
        target = (cluster.gpu_type if cluster else None) or "GPUs"
        words.append(
            f"The trials ran on CPU with gloo instead of {target} with NCCL: their numbers are real; CUDA kernels, "
            "streams, NCCL, speed and GPU memory were not exercised."
        )
    world = cluster.world_size if cluster else None
    if world and world != adapted.num_ranks:
        words.append(f"{adapted.num_ranks} ranks instead of {world}.")
    return words
