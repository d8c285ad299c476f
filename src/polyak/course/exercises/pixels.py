"""Chapter 11: the size of a convolution, a convolution, and a stack of frames."""

from collections.abc import Iterator

import numpy as np

from polyak.course.checking import Exercise, Mistake


def output_size(size: int, kernel: int, stride: int) -> int:
    return (size - kernel) // stride + 1


def convolve(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    k = len(kernel)
    rows, columns = (output_size(side, k, stride) for side in image.shape)
    result = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            result[i, j] = np.sum(image[i * stride : i * stride + k, j * stride : j * stride + k] * kernel)
    return result


def pushed(stack: np.ndarray, frame: np.ndarray, first: bool) -> np.ndarray:
    if first:
        return np.stack([frame] * len(stack))
    return np.concatenate([stack[1:], frame[None]])


def _sizes(rng: np.random.Generator) -> Iterator[tuple]:
    yield 84, 8, 4
    yield 20, 4, 2
    yield 9, 3, 1
    yield 10, 3, 2


def _images(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.arange(9.0).reshape(3, 3), np.array([[1.0, 0.0], [0.0, 0.0]]), 1
    for shape, k, stride in (((5, 5), 3, 1), ((6, 8), 2, 2), ((7, 7), 3, 2)):
        yield rng.normal(size=shape), rng.normal(size=(k, k)), stride


def _stacks(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([[[1.0]], [[2.0]], [[3.0]]]), np.array([[4.0]]), False
    yield np.array([[[1.0]], [[2.0]], [[3.0]]]), np.array([[4.0]]), True
    yield rng.normal(size=(4, 2, 2)), rng.normal(size=(2, 2)), False


EXERCISES = {
    "11.1": Exercise(
        output_size,
        _sizes,
        (
            Mistake(
                lambda size, kernel, stride: (size - kernel) // stride,
                "it forgets the first place of the window; add 1.",
            ),
            Mistake(lambda size, kernel, stride: size // stride, "it lets the window leave the image."),
        ),
    ),
    "11.2": Exercise(
        convolve,
        _images,
        (
            Mistake(
                lambda image, kernel, stride: convolve(image, kernel[::-1, ::-1], stride),
                "it turns the kernel round, as mathematics does; networks do not.",
            ),
        ),
    ),
    "11.3": Exercise(
        pushed,
        _stacks,
        (
            Mistake(
                lambda stack, frame, first: pushed(stack, frame, False),
                "frames of the last episode stay in the stack; where first is true, repeat the new frame.",
            ),
            Mistake(
                lambda stack, frame, first: pushed(stack[::-1], frame, first)[::-1],
                "it puts the new frame in front; the oldest comes first.",
            ),
        ),
    ),
}
