/** What the page's module makes of kernels, as JSON on standard output, for test_explorer.py. */

import { readFileSync } from "node:fs";
import { kernelIn, kernelOf } from "../trajhelpers/explorer/js/files.mjs";
import { angles, components, norms, pathRatio, spectrum } from "../trajhelpers/explorer/js/hallmarks.mjs";
import { everyOf } from "../trajhelpers/explorer/js/kernel.mjs";

const numbers = (_, value) =>
  value instanceof Float64Array ? Array.from(value) : typeof value === "number" && !Number.isFinite(value) ? String(value) : value;

async function measured({ embedded, file, origins, taken, group }) {
  const content = file && readFileSync(file);
  const whole = embedded
    ? kernelOf(embedded)
    : await kernelIn(content.buffer.slice(content.byteOffset, content.byteOffset + content.length), file);
  const kernel = group ? whole.only(group) : whole, chosen = taken ?? everyOf(kernel.n);
  return {
    maps: origins.map((origin) => {
      const { kept, cosine, omega, lowest } = kernel.cosine(origin, chosen);
      return { kept, cosine, omega, lowest, spectrum: spectrum({ kept, cosine }) };
    }),
    angles: angles(kernel, chosen),
    norms: norms(kernel, chosen),
    ratio: pathRatio(kernel, chosen),
    components: components(kernel, chosen),
    walk: kernel.asWalk(chosen).cosine().omega,
  };
}

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify(await Promise.all(asked.map(measured)), numbers));
