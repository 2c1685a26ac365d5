import torch

from astm import create


def test_the_last_frame_is_repeated():
    past = torch.rand(2, 3, 3, 5, 7)
    predicted = create("copy_last")(past, 4)
    assert all(torch.equal(frame, past[:, -1]) for frame in predicted.unbind(1))


def test_the_loss_is_the_mean_squared_change():
    past, future = torch.zeros(1, 2, 1, 4, 4), torch.full((1, 3, 1, 4, 4), 0.5)
    assert create("copy_last").loss(past, future, 0).item() == 0.25
