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

let source = "";

/** Keep this script's own text, of which workers are made: a page from a disk may load no other. */
export function keepSource(text) {
  source = text;
}

/**
 * What files are: a kernel's, or a run's checkpoints, of which the kernel is computed.
 * @param {Entry[]} entries
 * @param {(said: {doing: string, done: number, of: number, size?: string, seconds?: number}) => void} told
 * @param {AbortSignal} signal
 * @returns {Promise<{kernel: Kernel, run?: object}>}
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
    return { kernel: await kernelIn(await file.arrayBuffer(), file.name) };
  } catch (error) {
    throw new Error(`${path}: ${error.message}`);
  }
}

/** A run, computed in a worker, so that the page goes on meanwhile. */
function computed(entries, told, signal) {
  return new Promise((done, failed) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" })), worker = new Worker(url);
    const end = (act, value) => {
      worker.terminate();
      URL.revokeObjectURL(url);
      act(value);
    };
    signal.addEventListener("abort", () => end(failed, new Error("stopped")));
    worker.onerror = ({ message = "no worker" }) =>
      end(failed, new Error(`this page may not compute (${message}); use \`trajhelpers gram\``));
    worker.onmessage = ({ data: { said, run, error } }) => {
      if (said) told(said);
      else if (run) end(done, run);
      else end(failed, new Error(error));
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
    this.said = html("p", { className: "opened" });
    this.said.setAttribute("role", "status");
    this.bar = html("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", "how much has been computed");
    this.pace = html("span");
    const stop = button("stop", () => this.doing.abort());
    this.row = html("p", { className: "pace", hidden: true }, this.bar, this.pace, stop);
    this.element = html("div", { className: "trajhelpers-opening" },
      html("div", { className: "controls" }, button("open a kernel (.npz)", () => files.click()), files,
        button("open a folder of safetensors", () => folder.click()), folder),
      this.row, this.said);
  }

  /** Take what is dropped on an element. */
  listen(root) {
    root.ondragover = (event) => {
      event.preventDefault();
      root.classList.add("is-dropped-on");
    };
    root.ondragleave = () => root.classList.remove("is-dropped-on");
    root.ondrop = (event) => {
      event.preventDefault();
      root.classList.remove("is-dropped-on");
      this.#open(droppedFiles(event.dataTransfer));
    };
  }

  #input(properties) {
    const input = html("input", { type: "file", hidden: true, ...properties });
    input.onchange = () => {
      this.#open(chosenFiles(input.files));
      input.value = ""; // so that the same may be opened again
    };
    return input;
  }

  /** @param {Entry[]|Promise<Entry[]>} given */
  async #open(given) {
    this.doing?.abort();
    const doing = (this.doing = new AbortController()), begun = performance.now();
    this.said.textContent = "Reading …";
    this.bar.value = 0;
    try {
      const entries = await given;
      if (!entries.length) throw new Error("Nothing to open: the folder is empty.");
      const { kernel, run } = await opened(entries, (said) => this.#tell(said, doing), doing.signal);
      if (doing.signal.aborted) return;
      this.said.replaceChildren(inWords(kernel, run, performance.now() - begun));
      if (run) this.said.append(button("save its kernel (.npz)", () => saveFile(kernelFile(run), "", `${run.label}.npz`)));
      this.show(kernel);
    } catch (error) {
      if (this.doing === doing) this.said.textContent = error.message === "stopped" ? "Stopped." : error.message;
    }
    if (this.doing === doing) this.row.hidden = true;
  }

  #tell({ doing, done, of, size, seconds }, { signal }) {
    if (signal.aborted) return;
    this.row.hidden = false;
    this.bar.value = done / of;
    if (doing !== "computing") return void (this.pace.textContent = `${doing}: ${done} of ${of}`);
    this.said.textContent = size;
    const left = Math.ceil((seconds * (of - done)) / done);
    this.pace.textContent = `${megabytes(done)} of ${megabytes(of)} MB, ${megabytes(done / seconds)} MB/s, about ${left} s left`;
  }
}

const megabytes = (bytes) => (bytes / 1e6).toLocaleString("en", { maximumSignificantDigits: 3 });

function inWords({ label, n, p, steps, groups }, run, milliseconds) {
  const parts = groups.length > 1 ? ` in ${groups.length} groups` : "";
  const computed = run ? `, computed here in ${(milliseconds / 1000).toFixed(1)} s` : "";
  const out = run?.leftOut ?? [], more = out.length > 4 ? ` and ${out.length - 4} more` : "";
  const aside = out.length ? ` Left out: ${out.slice(0, 4).join("; ")}${more}.` : "";
  const size = `${n} checkpoints, ${steps[0]} … ${steps.at(-1)}, ${p.toLocaleString("en")} parameters`;
  return `${label}: ${size}${parts}${computed}.${aside} `;
}
