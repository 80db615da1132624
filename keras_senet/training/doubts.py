"""What a reader of a fine-tuning's accuracy must know: one line each, with a remedy."""

import numpy as np

from keras_senet.training.datasets import data_images
from keras_senet.training.network import weights_file
from keras_senet.weights import open_checkpoint

# Standard errors beyond which a difference is taken for real.
_ERRORS = 2.0
_FEW = 10
_GAP = 0.15


def is_at_chance(right: float, images: float, share: float) -> bool:
    """Whether an accuracy could be that of always naming the most frequent class.

    That class has the `share` of the held-out images. What halves the errors of that
    on ten images or more is better.
    """
    margin = _ERRORS * np.sqrt(share * (1 - share) / images)
    if images >= _FEW:
        margin = min(margin, (1 - share) / 2)
    return not right > share + margin  # nor is NaN


def find_doubts(
    result,
    accuracy: float,
    held_out: np.ndarray,
    predicted: np.ndarray,
    *,
    at_chance: bool,
) -> list[str]:
    """Returns what is doubtful about a fine-tuning, the worst first.

    The accuracy is that on the held-out images; `held_out` is how many of them each
    class has, `predicted` how many it is predicted for, `at_chance` what `is_no_better`
    says.
    """
    doubts = []
    if at_chance:
        doubts.append(
            f"The accuracy of {accuracy:.1%} is no better than chance. Check that the "
            "labels are right, give more images, or choose weights trained on images "
            "more like yours."
        )
    return [
        *doubts,
        *_never(result.source.class_names, held_out, predicted),
        *_over_fitting(result, accuracy),
        *_weights(result.recipe, result.source),
        *_few(result.source.class_names, result.image_counts),
        *_copies(result),
    ]


def is_no_better(
    result,
    accuracy: float,
    held_out: np.ndarray,
    class_accuracy: np.ndarray | None = None,
    precision: float = 0.0,
) -> bool:
    """Whether a network says no more than its data's shares do.

    The accuracy is that on the held-out images; `held_out` is how many of them each
    class has. Where all classes count the same in training, that of each class counts.
    Where an image has several labels, it is that of single labels, which says little of
    rare ones: their mean average `precision`, by chance their share of the images, must
    be no better either.
    """
    if class_accuracy is not None and result.recipe.class_weights:
        counts = held_out[held_out > 0]
        # As uncertain as the accuracy of so many images.
        images = len(counts) ** 2 / (1 / counts).sum()
        return is_at_chance(np.nanmean(class_accuracy), images, 1 / len(counts))
    # All of them: the recipe's `limit` is of the evaluation after each epoch.
    images = result.source.part(result.recipe.validation_split).images
    shares = held_out / images
    if result.source.multi_label:
        common, share = np.maximum(shares, 1 - shares).mean(), shares[held_out > 0]
        ranked = len(share) and not is_at_chance(precision, images, share.mean())
        return not ranked and is_at_chance(accuracy, images, float(common))
    return is_at_chance(accuracy, images, float(shares.max()))


def _never(names, held_out, predicted):
    counts = zip(names, held_out, predicted, strict=True)
    never = [name for name, images, named in counts if images and not named]
    if never:
        yield (
            f"Never predicted on the held-out images: {_some(never)}. Add images of "
            "these classes, or look for wrong labels."
        )


def _over_fitting(result, accuracy):
    images = result.source.part(result.recipe.validation_split).images
    if result.keeps_probe:
        training, more = result.probe.training_accuracy, ""
    else:
        training = max(result.history.get("accuracy", [0.0]))
        more = ", or try --augmentation imagenet or --probe"
    error = np.sqrt(max(accuracy * (1 - accuracy), 1e-9) / max(images, 1))
    if training - accuracy > max(_GAP, _ERRORS * error):
        yield (
            f"The accuracy is {training:.1%} on the training images, but "
            f"{accuracy:.1%} on the held-out images: the network overfits. "
            f"Add images{more}."
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
    small = record is not None and record.image_size <= 64
    if small and typical >= 4 * record.image_size:
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


def _copies(result):
    recipe, probe = result.recipe, result.probe
    if probe is not None and probe.copies:
        images = data_images(recipe, result.source, recipe.validation_split)
        yield (
            f"{probe.copies} of {images} held-out images look like a training image, "
            "so expect a lower accuracy on new images. Put all photos of one scene "
            "into the same part, train/ or test/."
        )


def _some(words):
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return f"{', '.join(words[:5])}{more}"
