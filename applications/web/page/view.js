/** What the page shows of a result. It holds no state but the document's. */

const LONGEST_LINE = 64; // cells
const element = (id) => document.getElementById(id);
const percent = (share) => (share < 5e-4 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

/** Shows what is known of a network before it has seen a picture. */
export function showNetwork({ description, threads }) {
  const { title, size, channels, parameters, labels, layers } = description;
  const picture = `${size} × ${size} ${channels === 1 ? "grey" : "colour"}`;
  element("about").textContent =
    `${title}: ${parameters.toLocaleString("en")} parameters, ` +
    `${labels.length} classes, ${layers.length} SE layers`;
  element("seen-size").textContent = picture;
  element("runtime").textContent = threads ? "LiteRT.js, with threads" : "LiteRT.js";
  Object.assign(element("seen"), { width: size, height: size });
  const rows = Math.min(5, labels.length);
  element("classes").replaceChildren(...Array.from({ length: rows }, emptyClass));
  element("layer").replaceChildren(
    ...layers.map(({ name, channels }) => new Option(`${name} · ${channels}`, name)),
  );
  element("layer").disabled = false;
  element("gates").hidden = layers.length === 0;
}

function emptyClass() {
  const row = document.createElement("li");
  for (const kind of ["name", "share", "bar"]) {
    row.append(Object.assign(document.createElement("span"), { className: kind }));
  }
  row.querySelector(".name").textContent = "–";
  return row;
}

/**
 * Shows the picture that was classified, and what the network got of it.
 *
 * @param {CanvasImageSource} source
 * @param {{width: number, height: number, name: string}} about
 * @param {Float32Array} values  What `prepare` returned.
 */
export function showPicture(source, { width, height, name }, values) {
  const canvas = element("picture");
  const scale = Math.min(1, 1024 / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.classList.toggle("small", Math.max(width, height) < 128);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-label", name);
  canvas.hidden = false;
  element("stage").classList.add("filled");
  showValues(element("seen"), values);
}

function showValues(canvas, values) {
  const count = canvas.width * canvas.height;
  const channels = values.length / count;
  const image = new ImageData(canvas.width, canvas.height);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = values[i * channels + Math.min(c, channels - 1)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Shows the best classes with bars, and the times in milliseconds. */
export function showScores(scores, labels, { network, preparation }) {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
  Array.from(element("classes").children).forEach((row, rank) => {
    const index = order[rank];
    row.querySelector(".name").textContent = labels[index];
    row.querySelector(".share").textContent = percent(scores[index]);
    row.style.setProperty("--share", scores[index]);
  });
  element("answer").classList.add("filled");
  element("latency").textContent = `${network.toFixed(1)} ms`;
  element("preparation").textContent = `${preparation.toFixed(1)} ms`;
}

/** Says the best class to those who do not see the page. */
export function announce(scores, labels) {
  const best = scores.indexOf(Math.max(...scores));
  element("announcement").textContent = `${labels[best]}, ${percent(scores[best])}`;
}

/** Shows the gates of a layer as a strip of cells, from left to right by channel. */
export function showGates(gates, name) {
  const strip = element("strip");
  if (strip.children.length !== gates.length) {
    const cells = Array.from(gates, () => document.createElement("i"));
    strip.replaceChildren(...cells);
    const lines = Math.ceil(gates.length / LONGEST_LINE);
    strip.style.setProperty("--columns", Math.ceil(gates.length / lines));
    strip.classList.toggle("many", lines > 1);
  }
  const top = Math.max(1, ...gates);
  gates.forEach((gate, channel) => {
    const cell = strip.children[channel];
    cell.style.setProperty("--gate", gate / top);
    cell.title = `channel ${channel}: ${gate.toFixed(3)}`;
  });
  const mean = gates.reduce((sum, gate) => sum + gate, 0) / gates.length;
  const range = `${Math.min(...gates).toFixed(2)} to ${Math.max(...gates).toFixed(2)}`;
  const summary = `${gates.length} gates, ${range}, mean ${mean.toFixed(2)}`;
  element("summary").textContent = summary;
  element("top").textContent = top > 1 ? `${top.toFixed(1)}` : "1 open";
  strip.setAttribute("aria-label", `${name}: ${summary}`);
}

/** Offers pictures that lie beside the page; `choose` gets the URL and the name. */
export function showExamples(examples, choose) {
  const buttons = examples.map(({ file, name }) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const image = Object.assign(new Image(), { src: file, alt: name, title: name });
    button.append(image);
    button.addEventListener("click", () => choose(file, name));
    return button;
  });
  element("examples").replaceChildren(...buttons);
  element("examples").hidden = buttons.length === 0;
}

/** Shows one line of what went wrong; an empty one takes it away. */
export function showTrouble(message) {
  element("trouble").textContent = message;
}
