"""The records of published checkpoints: data only."""

import dataclasses

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input.

    The short side is resized to `image_size / crop_fraction` pixels, the centre of
    `image_size` pixels is cut out, and a value x of 0..255 becomes
    `(x / 255 - mean) / std`.

    Attributes:
        mean: Per channel, in units of 0..1.
        std: Per channel, in units of 0..1.
        channel_order: Order of the colour channels.
        image_size: Height and width of the input, pixels.
        crop_fraction: Share of the resized short side that the centre crop keeps.
        interpolation: "bicubic" or "bilinear", with antialiasing.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: str = "RGB"
    image_size: int = 224
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                "`mean` and `std` must have one value for each channel, and `std` must "
                f"be positive. Received: mean={self.mean}, std={self.std}"
            )
        if self.channel_order not in ("RGB", "BGR"):
            raise ValueError(
                "`channel_order` must be 'RGB' or 'BGR'. "
                f"Received: channel_order={self.channel_order!r}"
            )
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(
                "`interpolation` must be 'bicubic' or 'bilinear'. "
                f"Received: interpolation={self.interpolation!r}"
            )
        if not 0 < self.crop_fraction <= 1 or self.image_size < 1:
            raise ValueError(
                "`crop_fraction` must be above 0 and at most 1, `image_size` positive. "
                f"Received: crop_fraction={self.crop_fraction!r}, "
                f"image_size={self.image_size!r}"
            )
