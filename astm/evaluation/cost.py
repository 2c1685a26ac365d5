"""What a model costs: numbers that do not depend on the machine, and two that do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from astm.predictor import Predictor
from astm.results import Cost
from astm.size import count_parameters, macs


def saved_bytes(predictor: Predictor, past: Tensor, future: Tensor) -> int:
    """Bytes of the distinct storages that autograd keeps for one loss, without parameters and inputs."""
    known = [tensor.untyped_storage() for tensor in [*predictor.parameters(), past, future]]
    ours = {id(storage) for storage in known}
    saved: dict[int, torch.UntypedStorage] = {}  # held, so that no identity is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # one object per storage while it is held, on the meta device too
        if id(storage) not in ours:
            saved[id(storage)] = storage
        return tensor.detach()  # the tensor itself would hold its own graph for ever

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = predictor.loss(past, future, 0)
    total = sum(storage.nbytes() for storage in saved.values())
    del loss
    return total


class Stopwatch:
    """Seconds that a device worked, its queue included, and the most bytes that it held meanwhile."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self.clips = device, 0.0, 0
        self.peak_bytes = 0
        """0 on a CPU."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is done inside counts."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        began = self.now()
        yield
        self.seconds += self.now() - began
        if cuda:
            self.peak_bytes = max(self.peak_bytes, torch.cuda.max_memory_allocated(self.device))

    def predict(self, predictor: Predictor, past: Tensor, horizon: int) -> Tensor:
        """Predict a batch on the clock."""
        with self.running():
            predicted: Tensor = predictor(past, horizon)
        self.clips += len(past)
        return predicted

    def now(self) -> float:
        """Seconds, after the device has done what it was asked."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def cost(predictor: Predictor, watch: Stopwatch, past: Tensor, future: Tensor) -> Cost:
    """The cost of a model on one clip, past and future (1, T, C, H, W), after `watch` has timed some."""
    name = torch.cuda.get_device_name(watch.device) if watch.device.type == "cuda" else "CPU"
    size, threads = (past.shape[-2], past.shape[-1]), torch.get_num_threads()
    return Cost(
        parameters=count_parameters(predictor),
        macs=macs(predictor, past.shape[1], future.shape[1], size),
        activation_bytes=saved_bytes(predictor, past, future),
        peak_bytes=watch.peak_bytes,
        clips_per_second=watch.clips / max(watch.seconds, 1e-9),
        device=f"{name}, {threads} thread{'s' * (threads != 1)}" if name == "CPU" else name,
    )
