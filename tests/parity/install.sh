#!/bin/sh
# Makes the environment of the parity tests: sh tests/parity/install.sh FOLDER
# Then: FOLDER/bin/pytest -m parity tests/parity
set -e
folder=${1:?usage: sh tests/parity/install.sh FOLDER}
here=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$folder"
"$folder/bin/pip" install --upgrade pip
"$folder/bin/pip" install -e "$here" pytest hypothesis torch==2.13.0 pyyaml tqdm requests
# timm's own dependencies do not install everywhere, and torchvision is only imported;
# where no build of it matches torch, _references.py declares its two operators.
"$folder/bin/pip" install --no-deps \
    timm==1.0.31 torchvision==0.28.0 huggingface_hub image-classifiers==1.0.0 \
    keras-applications==1.0.8 tf_keras==2.21.0
