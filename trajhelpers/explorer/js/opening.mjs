/**
 * A run of one's own: kernels and checkpoints that a reader gives to the page, by buttons or by
 * dropping them. They are read and multiplied on this machine, and go nowhere.
 */

import { button } from "./controls.mjs";
import { html } from "./elements.mjs";
import { chosenFiles, droppedFiles } from "./dropped.mjs";
import { kernelIn } from "./files.mjs";
import { Kernel } from "./kernel.mjs";
import { saveFile } from "./saving.mjs";
import { kernelFile } from "./writing.mjs";

/** @typedef {import("./safetensors.mjs").Entry} Entry */
/** @typedef {import("./gram.mjs").Run} Run */
/** @typedef {import("./gram.mjs").Said} Said */

const STOPPED = "Stopped.";

let source = "";

/**
 * Keep this script's own text, of which workers are made: a page from a disk may load no other.
 * @param {string} text
 */
export function keepSource(text) {
  source = text;
}

/**
 * What files are: a kernel's, or a run's checkpoints, of which the kernel is computed.
 * @param {Entry[]} entries
 * @param {(said: Said) => void} told
 * @param {AbortSignal} signal
 * @returns {Promise<{kernel: Kernel, run?: Run}>}
 */
export async function opened(entries, told, signal) {
  if (entries.some(({ path }) => /\.safetensors(\.index\.json)?$/.test(path))) {
    const run = await computed(entries, told, signal);
    return { kernel: new Kernel({ label: run.label, steps: run.steps, groups: run.groups }), run };
  }
  const kernels = entries.filter(({ path }) => path.endsWith(".npz"));
  const [{ path, file }] = kernels.length ? kernels : entries;
  if (!kernels.length)
    throw new Error(`${path}: neither a kernel (.npz) nor safetensors; of other checkpoints (.pt, .bin, .ckpt)` +
      " `trajhelpers gram FOLDER -o run.npz` makes a kernel, which opens here");
  if (kernels.length > 1) throw new Error(`${path}: one kernel (.npz) at a time`);
  try {
    return { kernel: await kernelIn(await file.arrayBuffer(), path.split("/").at(-1) ?? path) };
  } catch (error) {
    throw new Error(`${path}: ${messageOf(error)}`);
  }
}

const messageOf = (/** @type {unknown} */ error) => (error instanceof Error ? error.message : String(error));

/**
 * A run, computed in a worker, so that the page goes on meanwhile.
 * @param {Entry[]} entries
 * @param {(said: Said) => void} told
 * @param {AbortSignal} signal
 * @returns {Promise<Run>}
 */
function computed(entries, told, signal) {
  return new Promise((done, failed) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" })), worker = new Worker(url);
    const end = () => {
      worker.terminate();
      URL.revokeObjectURL(url);
    };
    const fail = (/** @type {string} */ message) => {
      end();
      failed(new Error(message));
    };
    signal.addEventListener("abort", () => fail(STOPPED));
    worker.onerror = ({ message = "no worker" }) =>
      fail(`this page may not compute (${message}); use \`trajhelpers gram\``);
    worker.onmessage = ({ data: { said, run, error } }) => {
      if (said) told(said);
      else if (error) fail(error);
      else {
        end();
        done(run);
      }
    };
    worker.postMessage(entries);
  });
}

/** Two buttons, a bar while it computes, and what came of it. */
export class Opening {
  /** @param {(kernel: Kernel) => void} show  what to do with a kernel */
  constructor(show) {
    this.show = show;
    const files = this.#input({ accept: ".npz,.safetensors", multiple: true });
    const folder = this.#input({ webkitdirectory: true, multiple: true });
    this.doing = new AbortController();
    this.said = html("p", { className: "opened", role: "status" });
    this.bar = html("progress", { max: 1, value: 0, "aria-label": "how much has been computed" });
    this.pace = html("span");
    const stop = button("stop", () => this.doing.abort());
    this.row = html("p", { className: "pace", hidden: true }, this.bar, this.pace, stop);
    this.element = html("div", { className: "trajhelpers-opening" },
      html("div", { className: "controls" }, button("open files (.npz, .safetensors)", () => files.click()), files,
        button("open a folder of safetensors", () => folder.click()), folder),
      this.row, this.said);
  }

  /**
   * Take what is dropped on an element.
   * @param {HTMLElement} root
   */
  listen(root) {
    root.ondragover = (event) => {
      event.preventDefault();
      root.classList.add("is-dropped-on");
    };
    root.ondragleave = () => root.classList.remove("is-dropped-on");
    root.ondrop = (event) => {
      event.preventDefault();
      root.classList.remove("is-dropped-on");
      if (event.dataTransfer) this.#open(droppedFiles(event.dataTransfer));
    };
  }

  /** @param {Partial<HTMLInputElement>} properties */
  #input(properties) {
    const input = html("input", { type: "file", hidden: true });
    Object.assign(input, properties);
    input.onchange = () => {
      this.#open(chosenFiles(input.files ?? []));
      input.value = ""; // so that the same may be opened again
    };
    return input;
  }

  /** @param {Entry[]|Promise<Entry[]>} given */
  async #open(given) {
    this.doing.abort();
    const doing = (this.doing = new AbortController()), begun = performance.now();
    this.said.textContent = "Reading …";
    this.bar.value = 0;
    try {
      const entries = await given;
      if (!entries.length) throw new Error("Nothing to open: the folder is empty.");
      const { kernel, run } = await opened(entries, (said) => this.#tell(said, doing), doing.signal);
      if (doing.signal.aborted) return;
      this.said.replaceChildren(inWords(kernel, run, performance.now() - begun));
      const save = (/** @type {Run} */ one) => saveFile(kernelFile(one), "", `${one.label}.npz`);
      if (run) this.said.append(button("save its kernel (.npz)", () => save(run)));
      this.show(kernel);
    } catch (error) {
      if (this.doing === doing) this.said.textContent = messageOf(error);
    }
    if (this.doing === doing) this.row.hidden = true;
  }

  /** @param {Said} said @param {AbortController} doing */
  #tell({ doing, done, of, size = "", seconds = 0 }, { signal }) {
    if (signal.aborted) return;
    this.row.hidden = false;
    this.bar.value = done / of;
    this.said.textContent = size;
    const left = Math.ceil((seconds * (of - done)) / done);
    this.pace.textContent = size
      ? `${megabytes(done)} of ${megabytes(of)} MB, ${megabytes(done / seconds)} MB/s, about ${left} s left`
      : `${doing}: ${done} of ${of}`;
  }
}

const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toLocaleString("en", { maximumSignificantDigits: 3 });

/**
 * @param {Kernel} kernel
 * @param {Run|undefined} run  that it was computed from
 * @param {number} milliseconds
 */
function inWords({ label, n, p, steps, groups }, run, milliseconds) {
  const parts = groups.length > 1 ? ` in ${groups.length} groups` : "";
  const computed = run ? `, computed here in ${(milliseconds / 1000).toFixed(1)} s` : "";
  const out = run?.leftOut ?? [], more = out.length > 4 ? ` and ${out.length - 4} more` : "";
  const aside = out.length ? ` Left out: ${out.slice(0, 4).join("; ")}${more}.` : "";
  const size = `${n} checkpoints, ${steps[0]} … ${steps.at(-1)}${p ? `, ${p.toLocaleString("en")} parameters` : ""}`;
  return `${label}: ${size}${parts}${computed}.${aside} `;
}
