"""The base of the paper's own grid: SE-ResNet-50 on ImageNet (section 6).

    python applications/ablations/main.py --output runs/ablations-imagenet \
        --recipe applications/ablations/imagenet.py --seeds 0

Hardware: many GPUs. Measured: not yet.
"""

from keras_senet.training import RECIPES

recipe = RECIPES["ablation"]
