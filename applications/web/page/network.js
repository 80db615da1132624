import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

/**
 * The exported network: a picture's values in, class scores and gates out.
 *
 * `description` is model.json: `title`, `file` (the .tflite), `parameters`, `threads`
 * (whether it gains by them), `labels`, `size` (pixels), `channels`, `crop_fraction`,
 * `interpolation`, `scores` (the name of the output with the scores), `layers` ([{name,
 * channels}]: SE layers, which are the names of the other outputs) and `examples`.
 */
export class Network {
  #model;

  /** Loads model.json, the runtime and the .tflite file that lie in `folder` (a URL). */
  static async load(folder) {
    const response = await fetch(new URL("model.json", folder));
    if (!response.ok) throw new Error(`There is no model.json (${response.status}).`);
    const network = new Network();
    network.description = await response.json();
    // Threads share memory, which a page may only do where its server's headers say so.
    network.threads = network.description.threads && globalThis.crossOriginIsolated;
    await loadLiteRt(new URL("litert/wasm/", folder).href, { threads: network.threads });
    const file = new URL(network.description.file, folder).href;
    network.#model = await loadAndCompile(file, { accelerator: "wasm" });
    const { size, channels } = network.description;
    await network.run(new Float32Array(size * size * channels)); // the first is slower
    return network;
  }

  /**
   * @param {Float32Array} values  Height x width x channels, 0 to 255.
   * @returns {Promise<{scores: Float32Array, gates: Object<string, Float32Array>,
   *   milliseconds: number}>}  Gates by the name of their layer.
   */
  async run(values) {
    const { scores, size, channels } = this.description;
    const [input] = this.#model.getInputDetails();
    const tensor = new Tensor(values, [1, size, size, channels]);
    let outputs = {};
    try {
      const start = performance.now();
      outputs = await this.#model.run({ [input.name]: tensor });
      const results = {};
      for (const [name, output] of Object.entries(outputs)) {
        results[name] = Float32Array.from(await output.data());
      }
      const milliseconds = performance.now() - start;
      const { [scores]: found, ...gates } = results;
      return { scores: found, gates, milliseconds };
    } finally {
      // LiteRT's memory is not the garbage collector's.
      for (const used of [tensor, ...Object.values(outputs)]) used.delete();
    }
  }
}
