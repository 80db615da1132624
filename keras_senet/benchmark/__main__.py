"""A child process of the benchmark."""

from keras_senet.benchmark.children import main

main()
