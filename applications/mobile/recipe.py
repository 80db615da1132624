"""ImageNet by the paper's mobile recipe (section 5.1): SE-MobileNet.

    python applications/mobile/main.py --run-folder runs/mobile

Expected: 25.3 % top-1 and 7.7 % top-5 error (the paper), 28.4 % and 9.4 % without SE
(--no-se). Measured: not here.
Hardware: GPUs with memory for 256 images of 224 x 224 pixels together.
Time: not measured here; 400 passes over 1.28 million images.
"""

from keras_senet.training import RECIPES

recipe = RECIPES["mobile"]
