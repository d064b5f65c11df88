/** Of each kernel file, ω in the page or why it does not open, as JSON, for test_explorer_files.py. */

import { readFileSync } from "node:fs";
import { kernelIn } from "../trajhelpers/explorer/js/files.mjs";

async function opened(path) {
  const { buffer, byteOffset, length } = readFileSync(path);
  try {
    const kernel = await kernelIn(buffer.slice(byteOffset, byteOffset + length), path);
    return { n: kernel.n, p: kernel.p, omega: kernel.cosine().omega };
  } catch (error) {
    return { refused: error.message };
  }
}

const answers = [];
for (const path of JSON.parse(readFileSync(process.argv[2], "utf8"))) answers.push(await opened(path));
console.log(JSON.stringify(answers));
