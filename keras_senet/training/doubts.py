"""What a reader of a fine-tuning's accuracy must know: one line each, with a remedy."""

import numpy as np

from keras_senet.training.datasets import count_images, data_images
from keras_senet.training.network import weights_file
from keras_senet.weights import open_checkpoint

# Standard errors beyond which a difference is taken for real.
_ERRORS = 2.0
_FEW = 10
_GAP = 0.15


def is_at_chance(right: float, images: float, share: float) -> bool:
    """Whether an accuracy could be that of always naming the most frequent class.

    Args:
        right: Share of the held-out images that are right.
        images: How many they are.
        share: Of the most frequent class among them.
    """
    return right <= share + _ERRORS * np.sqrt(share * (1 - share) / images)


def find_doubts(
    result, accuracy: float, predicted: np.ndarray, *, at_chance: bool
) -> list[str]:
    """Returns what is doubtful about a fine-tuning, the worst first.

    Args:
        result: A `TrainingResult`.
        accuracy: On the held-out images.
        predicted: How many of them each class is predicted for.
        at_chance: What `is_no_better` says of it.
    """
    source, recipe = result.source, result.recipe
    held_out = np.array(count_images(source, recipe.validation_split))
    images = source.part(recipe.validation_split).images
    names = source.class_names
    return [
        *_chance(accuracy, at_chance),
        *_never(names, held_out, predicted, source.multi_label),
        *_over_fitting(result, accuracy, images),
        *_weights(recipe, source),
        *_few(names, result.image_counts),
        *_copies(result.probe, data_images(recipe, source, recipe.validation_split)),
    ]


def _chance(accuracy, at_chance):
    if at_chance:
        yield (
            f"The accuracy of {accuracy:.1%} is no better than chance. Check that the "
            "labels are right, give more images, or choose weights trained on images "
            "more like yours."
        )


def is_no_better(
    result, accuracy: float, class_accuracy: np.ndarray | None = None
) -> bool:
    """Whether a network says no more than its data's shares do.

    Args:
        result: A `TrainingResult`.
        accuracy: On the held-out images; of single labels where an image has several.
        class_accuracy: Of the images of each class, where it is known. It is what
            counts where all classes count the same in training.
    """
    held_out = np.array(count_images(result.source, result.recipe.validation_split))
    if class_accuracy is not None and result.recipe.class_weights:
        counts = held_out[held_out > 0]
        # As uncertain as the accuracy of so many images.
        images = len(counts) ** 2 / (1 / counts).sum()
        return is_at_chance(np.nanmean(class_accuracy), images, 1 / len(counts))
    # All of them: the recipe's `limit` is of the evaluation after each epoch.
    images = result.source.part(result.recipe.validation_split).images
    shares = held_out / images
    if result.source.multi_label:
        common = np.maximum(shares, 1 - shares).mean()
        return is_at_chance(accuracy, images, float(common))
    return is_at_chance(accuracy, images, float(shares.max()))


def _never(names, held_out, predicted, multi_label):
    never = [
        n for n, h, p in zip(names, held_out, predicted, strict=True) if h and not p
    ]
    if never:
        yield (
            f"Never predicted on the held-out images: {_some(never)}. Add images of "
            "these classes, or look for wrong labels."
        )


def _over_fitting(result, accuracy, images):
    training = result.probe.training_accuracy if result.keeps_probe else None
    if training is None:
        training = max(result.history.get("accuracy", [0.0]))
    error = np.sqrt(max(accuracy * (1 - accuracy), 1e-9) / max(images, 1))
    if training - accuracy > max(_GAP, _ERRORS * error):
        yield (
            f"The accuracy is {training:.1%} on the training images, but "
            f"{accuracy:.1%} on the held-out images: the network overfits. Add images"
            + (
                "."
                if result.keeps_probe
                else ", or try --augmentation imagenet or --probe."
            )
        )


def _weights(recipe, source):
    if recipe.weights is None:
        return
    checkpoint = open_checkpoint(weights_file(recipe.weights), recipe.model)
    if checkpoint.channels == 1 and source.channels == 3:
        yield (
            f"The weights {recipe.weights!r} were trained on grey images, so the "
            "colours of your images have no effect. Choose weights trained on colour "
            "photos."
        )
    record = checkpoint.card.preprocessing
    images = source.dataset(recipe.train_split).take(5)
    sizes = [min(image.shape[:2]) for image, _ in images.as_numpy_iterator()]
    typical = int(np.median(sizes))
    if (
        record is not None
        and record.image_size <= 64
        and typical >= 4 * record.image_size
    ):
        yield (
            f"The weights {recipe.weights!r} were trained on images of "
            f"{record.image_size} pixels. Your images have about {typical} pixels and "
            "are reduced to that size. Choose weights trained on large photos, such as "
            "--model se_resnet50 with weights of ImageNet."
        )


def _few(names, counts):
    few = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if n < _FEW]
    if few:
        yield (
            f"Fewer than {_FEW} training images: {_some(few)}. The accuracy of these "
            "classes is uncertain. Add images of them."
        )


def _copies(probe, images):
    if probe is not None and probe.copies:
        yield (
            f"{probe.copies} of {images} held-out images look like a training image, "
            "so expect a lower accuracy on new images. Put all photos of one scene "
            "into the same part, train/ or test/."
        )


def _some(words):
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return f"{', '.join(words[:5])}{more}"
