"""Files of tensors: the same for the same tensors, whatever is in them."""

import torch

from astm.pretrained.tensors import read_tensors, save_tensors


def test_equal_tensors_give_equal_files(tmp_path):
    tensors = {
        "a\n\x7fé": torch.arange(3),
        "scalar": torch.tensor(1.5, dtype=torch.bfloat16),
        "none": torch.zeros(0, 2),
    }
    about = {name: name for name in ["format", "astm", "é", '"quoted"\n']}
    for name in "xy" * 4:
        save_tensors(tmp_path / name, tensors, about)
        assert (tmp_path / "x").read_bytes() == (tmp_path / name).read_bytes()
    read, told = read_tensors(tmp_path / "x")
    assert told == about
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
