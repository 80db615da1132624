const CALM = 2000; // milliseconds between two announcements

/** A button that turns the camera on and off; while it is on, every frame is shown. */
export class Camera {
  #button;
  #handlers;
  #stream = null;

  /**
   * @param {HTMLButtonElement} button
   * @param {{frame: function(HTMLVideoElement): Promise, calm: function(any): void,
   *   trouble: function(string): void}} handlers  `frame` is called again when what it
   *   returned is there; `calm` gets that every two seconds.
   */
  constructor(button, handlers) {
    this.#button = button;
    this.#handlers = handlers;
    button.addEventListener("click", () => (this.#stream ? this.stop() : this.#start()));
  }

  enable() {
    this.#button.disabled = false;
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.#show();
  }

  async #start() {
    const { trouble } = this.#handlers;
    trouble("");
    // Browsers give the camera to https pages and to localhost only.
    if (!navigator.mediaDevices) {
      trouble("The camera needs an https page or localhost.");
      return;
    }
    this.#button.disabled = true;
    let stage = "There is no camera to use";
    try {
      const wanted = { facingMode: "environment", width: { ideal: 640 } };
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
      stage = "The camera was stopped";
      this.#show();
      await this.#run(this.#stream);
    } catch (error) {
      this.stop();
      trouble(`${stage}: ${error.message}`);
    } finally {
      this.#button.disabled = false;
    }
  }

  async #run(stream) {
    const video = document.createElement("video");
    Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
    await video.play();
    this.#button.disabled = false;
    let announced = -CALM;
    while (this.#stream === stream) {
      const found = await this.#handlers.frame(video);
      if (performance.now() - announced > CALM) {
        announced = performance.now();
        this.#handlers.calm(found);
      }
      await new Promise(requestAnimationFrame);
    }
    video.srcObject = null;
  }

  #show() {
    const on = this.#stream !== null;
    this.#button.setAttribute("aria-pressed", on);
    this.#button.textContent = on ? "Stop camera" : "Use camera";
  }
}
