// The page: waits for a picture, hands it to the worker, shows the answer.

import { Camera } from "./camera.js";
import {
  byId, markSample, showAnswer, showDoubt, showError, showLimits, showProgress, showSamples,
  showSharper,
} from "./view.js";
import { HOW_TO_WRITE, Wording } from "./words.js";

const SETTINGS = "model.json";

class Page {
  constructor() {
    this.camera = new Camera();
    this.worker = null;
    this.settings = null;
    this.asked = 0; // number of the newest question; older answers come too late to be shown
    this.waiting = new Map();
  }

  async start() {
    try {
      if (location.protocol === "file:") {
        throw new Wording(
          "Browsers do not let a page opened as a file load its model. Serve the folder, for " +
            "example with python -m http.server, and open http://localhost:8000.",
        );
      }
      this.settings = await readSettings();
      byId("about").textContent = this.settings.about;
      document.title = `Viewpoint · ${this.settings.name}`;
      showDoubt(this.settings.doubt);
      showLimits(this.settings.limits ?? []);
      showProgress("Loading the model …");
      await this.startWorker();
      this.becomeReady();
    } catch (error) {
      this.fail(error);
    }
  }

  startWorker() {
    return new Promise((resolve, reject) => {
      this.worker = new Worker(new URL("worker.js", document.baseURI));
      this.worker.onerror = () => reject(new Wording(`worker.js cannot be loaded. ${HOW_TO_WRITE}`));
      this.worker.onmessage = ({ data }) => {
        if (data.kind === "ready") resolve();
        else if (data.kind === "failed") reject(new Wording(data.text));
        else this.receive(data);
      };
      this.worker.postMessage({ kind: "start", settings: this.settings });
    });
  }

  becomeReady() {
    document.body.dataset.state = "ready";
    byId("choose").disabled = byId("camera").disabled = false;
    showProgress("Choose a picture, drop one here, or try a sample.");
    byId("empty").classList.add("idle");
    showSamples(this.settings.samples, (sample, button) => this.pickSample(sample, button));
    const first = byId("sample-list").querySelector("button");
    if (first) first.click();
  }

  fail(error) {
    document.body.dataset.state = "failed";
    if (!(error instanceof Wording)) console.error(error);
    showProgress("The page could not start.");
    showError(error instanceof Wording ? error.message : "Something went wrong; reload the page.");
  }

  /** Asks the worker; resolves with its answer, or with null where a newer question came. */
  ask(message, transfer = []) {
    const id = ++this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...message, kind: "answer", id }, transfer);
    });
  }

  receive(data) {
    if (data.kind === "sharper") {
      if (data.id === this.asked) showSharper(data.shown);
      data.shown.close();
      return;
    }
    const { resolve, reject } = this.waiting.get(data.id);
    this.waiting.delete(data.id);
    if (data.id !== this.asked) resolve(null);
    else if (data.kind === "bad") reject(new Wording(data.text));
    else resolve(data);
  }

  /** Predicts a file or blob and shows it. */
  async open(blob, title, button = null) {
    if (document.body.dataset.state !== "ready") return;
    this.stopCamera();
    markSample(button);
    byId("screen").setAttribute("aria-busy", "true");
    try {
      const answer = await this.ask({ blob });
      if (!answer) return;
      showError(null);
      showAnswer(answer, title, this.settings.resolution, false);
    } catch (error) {
      showError(`${title}: ${error.message}`);
    } finally {
      byId("screen").removeAttribute("aria-busy");
    }
  }

  async pickSample(sample, button) {
    try {
      const response = await fetch(sample.file);
      if (!response.ok) throw new Wording(`it is missing on this server. ${HOW_TO_WRITE}`);
      await this.open(await response.blob(), sample.title, button);
    } catch (error) {
      const reason = error instanceof Wording ? error.message : "the server does not answer.";
      showError(`${sample.title}: ${reason}`);
    }
  }

  async toggleCamera() {
    if (this.camera.on) {
      this.stopCamera();
      return;
    }
    await this.useCamera(() => this.camera.start());
  }

  async useCamera(open) {
    showError(null);
    byId("camera").disabled = true;
    try {
      await open();
      byId("turn").hidden = !(await this.camera.several());
      byId("spoken").textContent = "The camera is on.";
      markSample(null);
    } catch (error) {
      showError(error.message);
    } finally {
      byId("camera").disabled = false;
      this.showCameraState();
    }
    if (this.camera.on) this.watch();
  }

  stopCamera() {
    if (!this.camera.on) return;
    this.camera.stop();
    this.showCameraState();
    byId("spoken").textContent = "The camera is off.";
  }

  showCameraState() {
    const { on } = this.camera;
    document.body.classList.toggle("live", on);
    byId("camera").setAttribute("aria-pressed", String(on));
    byId("camera-word").textContent = on ? "Stop camera" : "Use camera";
    byId("badge").hidden = !on;
    byId("badge").textContent = "Live · let the object fill the square";
    if (!on) byId("turn").hidden = true;
  }

  /** Predicts frame after frame, each once the one before is drawn, until the camera is off. */
  async watch() {
    const { stream } = this.camera;
    while (this.camera.stream === stream) {
      await new Promise(requestAnimationFrame); // pauses where the page is not seen
      const bitmap = await this.camera.frame();
      if (!bitmap) continue;
      try {
        const answer = await this.ask({ bitmap }, [bitmap]);
        if (answer && this.camera.stream === stream) {
          showAnswer(answer, "The camera’s picture", this.settings.resolution, true);
        }
      } catch (error) {
        this.stopCamera();
        showError(error.message);
      }
    }
  }
}

async function readSettings() {
  let response;
  try {
    response = await fetch(SETTINGS, { cache: "no-cache" });
  } catch {
    throw new Wording("The server does not answer. Is it still running?");
  }
  if (!response.ok) {
    throw new Wording(`${SETTINGS} is missing on this server (${response.status}). ${HOW_TO_WRITE}`);
  }
  try {
    return await response.json();
  } catch {
    throw new Wording(`${SETTINGS} is damaged. ${HOW_TO_WRITE}`);
  }
}

function listen(page) {
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = ""; // so that the same file can be chosen again
    if (file) page.open(file, file.name);
  });
  byId("camera").addEventListener("click", () => page.toggleCamera());
  byId("turn").addEventListener("click", () => page.useCamera(() => page.camera.turn()));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && page.stopCamera());
  document.addEventListener("paste", ({ clipboardData }) => openFirst(page, clipboardData));
  listenToDrops(page);
}

function listenToDrops(page) {
  let depth = 0; // dragenter and dragleave come for every element on the way
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    openFirst(page, event.dataTransfer);
  });
}

function openFirst(page, transfer) {
  const [file] = transfer?.files ?? [];
  if (file) page.open(file, file.name || "Pasted picture");
}

const page = new Page();
listen(page);
page.start();
