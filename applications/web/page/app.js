/** The page: pictures come in, the network runs, the view shows what it found. */

import { Camera } from "./camera.js";
import { Network } from "./network.js";
import { prepare, readPicture } from "./picture.js";
import * as view from "./view.js";

const element = (id) => document.getElementById(id);
let network;
let gates; // of the last picture, by layer
let turn = 0; // of the last picture that was chosen: an older one comes too late

/** Classifies a bitmap or a video frame and shows everything. */
async function classify(source, { width, height, name }) {
  const start = performance.now();
  const values = prepare(source, width, height, network.description);
  const preparation = performance.now() - start;
  view.showPicture(source, { width, height, name }, values);
  const result = await network.run(values);
  const { labels } = network.description;
  gates = result.gates;
  view.showScores(result.scores, labels, { network: result.milliseconds, preparation });
  showGates();
  return result;
}

function showGates() {
  const name = element("layer").value;
  if (gates && name) view.showGates(gates[name], name);
}

/** Classifies a file that was dropped, pasted, chosen or fetched. */
async function open(blob, name = blob.name ?? "A pasted picture") {
  const mine = ++turn;
  camera.stop();
  await guarded(async () => {
    const bitmap = await readPicture(blob);
    try {
      if (mine !== turn) return;
      const { width, height } = bitmap;
      const result = await classify(bitmap, { width, height, name });
      view.announce(result.scores, network.description.labels);
      // For those who build on this page, tests among them.
      document.dispatchEvent(new CustomEvent("classified", { detail: result }));
    } finally {
      bitmap.close();
    }
  });
}

async function openExample(file, name) {
  await guarded(async () => open(await (await fetch(file)).blob(), name));
}

/** Does something; what goes wrong becomes one line, and the page lives on. */
async function guarded(action) {
  view.showTrouble("");
  try {
    await action();
  } catch (error) {
    view.showTrouble(error.message);
  }
}

const camera = new Camera(element("camera"), {
  frame: async (video) => {
    turn++;
    const { videoWidth: width, videoHeight: height } = video;
    const { scores } = await classify(video, { width, height, name: "The camera" });
    return scores;
  },
  calm: (scores) => view.announce(scores, network.description.labels),
  trouble: view.showTrouble,
});

function listen() {
  const file = element("file");
  file.addEventListener("change", () => {
    if (file.files.length) open(file.files[0]);
    file.value = ""; // so that the same file can be chosen again
  });
  element("layer").addEventListener("change", showGates);
  const stage = element("stage");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    stage.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) stage.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    accept(event.dataTransfer, "What was dropped is not a file. Drop a picture's file.");
  });
  document.addEventListener("paste", (event) => {
    accept(event.clipboardData, "There is no picture to paste.");
  });
}

function accept({ files }, otherwise) {
  if (files.length) open(files[0]);
  else view.showTrouble(otherwise);
}

async function start() {
  await guarded(async () => {
    network = await Network.load(new URL(".", document.baseURI));
    view.showNetwork(network);
    view.showExamples(network.description.examples, openExample);
    element("file").disabled = false;
    camera.enable();
    listen();
    document.body.dataset.state = "ready";
  });
  if (document.body.dataset.state !== "ready") {
    element("about").textContent = "The network could not be loaded.";
  }
}

start();
