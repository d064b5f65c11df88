/**
 * Steps, from the names of checkpoints: the number in which they differ, by what stands before it.
 * The plain cases of trajhelpers/reading/steps.py, with its results; where that has a rule for a
 * choice, the page asks instead.
 */

const NUMBER = /(\d+)(\.\d+)?(?:(e[+-]?\d+)(?![a-z0-9])|([kmbt])t?(?![a-z0-9]))?/gi;
/** @typedef {{text: string, kind: string, value: number}} Counting  a number, with what it counts */

// In the order in which they say what is counted; what nothing stands before comes after them.
/** @type {Record<string, RegExp>} */
const LABELS = {
  step: /(?<![a-z])(?:(?:global[\W_]?)?steps?|ba|batch(?:es)?)[\W_]*$/i,
  iteration: /(?<![a-z])iter(?:ation)?s?[\W_]*$/i,
  epoch: /(?<![a-z])ep(?:och)?s?[\W_]*$/i,
  tokens: /(?<![a-z])tok(?:en)?s?[\W_]*$/i,
  metric: /(?<![a-z])(?:loss|ppl|acc|accuracy|lr|wd|score|f1|map|iou|auc)[\W_]*$/i,
  side: /(?<![a-z])(?:stage|phase|seed|ingredient|run|trial|fold|replica)[\W_]*$/i,
};
const COUNTS = ["step", "iteration", "epoch", "plain"];
const DATE = /(19|20)\d\d([-_.])(0[1-9]|1[0-2])\2\d\d/;
const CHOSEN = /(?<![a-z])(best|last|latest|final)(?![a-z])/i;
const INITIAL = /(?<![a-z])init(?:ial|ialization|ialisation)?(?![a-z])/i;

/**
 * @param {string[]} names  of files and folders, without their endings
 * @param {string} where  what they lie in, for errors
 * @returns {{ordered: {index: number, step: number}[], leftOut: {index: number, why: string}[]}}
 */
export function stepsOf(names, where) {
  const read = names.map(numbersIn), every = names.map((_, index) => index);
  let numbered = every.filter((index) => read[index].numbers.length);
  const copies = numbered.filter((index) => CHOSEN.test(names[index]));
  if (numbered.length - copies.length > 1) numbered = numbered.filter((index) => !copies.includes(index));
  refuseKinds(numbered, read, names, where);
  const column = numbered.length ? columnOf(numbered.map((index) => read[index].numbers), where) : 0;
  const ordered = numbered.map((index) => ({ index, step: read[index].numbers[column].value }));
  ordered.sort((one, other) => one.step - other.step || (names[one.index] < names[other.index] ? -1 : 1));
  refuseDoubles(ordered, names, where);
  refuseBack(ordered.map(({ index }) => read[index].numbers), column, where);
  const rest = every.filter((index) => !numbered.includes(index));
  const initial = rest.filter((index) => INITIAL.test(names[index]) && !read[index].numbers.length);
  if (initial.length > 1)
    throw new Error(`${where}: ${initial.map((index) => names[index]).join(", ")} say that they come first; keep one`);
  const before = ordered.length && ordered[0].step === 0 ? -1 : 0;
  for (const index of initial) ordered.unshift({ index, step: before });
  const others = rest.filter((index) => !initial.includes(index));
  return { ordered, leftOut: others.map((index) => ({ index, why: "no step in its name" })) };
}

/**
 * The numbers of a name, and the name with # for them.
 * @param {string} name
 */
function numbersIn(name) {
  /** @type {Counting[]} */
  const numbers = [];
  let mask = "", at = 0;
  for (const found of name.matchAll(NUMBER)) {
    const [text, digits, decimals, exponent, unit] = found, before = name.slice(0, found.index);
    const isOfTokens = /^[\W_]*tok(?:en)?s?(?![a-z])/i.test(name.slice(found.index + text.length));
    const kind = Object.keys(LABELS).find((label) => LABELS[label].test(before)) ?? (isOfTokens ? "tokens" : "plain");
    const isWhole = !decimals && !exponent && !unit, isOfDate = isWhole && isWithinDate(name, found.index);
    numbers.push({ text, kind: isOfDate ? "date" : isWhole ? kind : "none", value: +digits });
    mask += name.slice(at, found.index) + "#";
    at = found.index + text.length;
  }
  return { numbers, mask: mask + name.slice(at) };
}

/** @param {string} name @param {number} at */
function isWithinDate(name, at) {
  const found = DATE.exec(name);
  return found !== null && at >= found.index && at < found.index + found[0].length;
}

/**
 * @param {number[]} numbered  indices of names
 * @param {{mask: string}[]} read
 * @param {string[]} names
 * @param {string} where
 */
function refuseKinds(numbered, read, names, where) {
  const kinds = [...new Set(numbered.map((index) => read[index].mask))];
  if (kinds.length < 2) return;
  const called = kinds.slice(0, 4).map((kind) => {
    const alike = numbered.filter((index) => read[index].mask === kind);
    return alike.length > 1 ? `${kind.replaceAll("#", "*")} (${alike.length})` : names[alike[0]];
  });
  throw new Error(`${where}: ${called.join(", ")}${kinds.length > 4 ? " …" : ""}` +
    " differ in more than their numbers; open the files of one kind");
}

/**
 * Which of the numbers of all names is the step.
 * @param {Counting[][]} rows
 * @param {string} where
 */
function columnOf(rows, where) {
  const columns = rows[0].map((_, column) => column);
  const differing = columns.filter((column) => new Set(rows.map((row) => row[column].text)).size > 1);
  const kinds = rows[0].map(({ kind }, column) => (rows.every((row) => row[column].kind === kind) ? kind : "none"));
  const doubtful = differing.filter((column) => ["side", "date"].includes(kinds[column]));
  const counting = (differing.length ? differing : columns).filter((column) => COUNTS.includes(kinds[column]));
  const kind = COUNTS.find((one) => counting.some((column) => kinds[column] === one));
  const isEpochAndMore = kind === "epoch" && counting.some((column) => kinds[column] === "plain");
  if (doubtful.length || kind === undefined || isEpochAndMore)
    throw new Error(`${where}: which of the numbers in its names is the step cannot be told here, as of stages,` +
      " seeds, days and tokens; give names such as step_100, or use `trajhelpers gram`, which knows more");
  return counting.filter((column) => kinds[column] === kind).at(-1) ?? 0;
}

/** @param {{index: number, step: number}[]} ordered @param {string[]} names @param {string} where */
function refuseDoubles(ordered, names, where) {
  for (let i = 1; i < ordered.length; i++) {
    const [one, other] = [ordered[i - 1], ordered[i]];
    const name = names[other.index];
    if (one.step === other.step)
      throw new Error(`${where}: ${names[one.index]} and ${name} are both at step ${one.step}; move one away`);
    if (!Number.isSafeInteger(other.step))
      throw new Error(`${where}: ${name}: its step is too large for a page; give it a smaller number`);
  }
}

/**
 * Another number that goes back along the steps: of several runs, or of epochs that begin anew.
 * @param {Counting[][]} rows
 * @param {number} column
 * @param {string} where
 */
function refuseBack(rows, column, where) {
  for (let i = 1; i < rows.length; i++)
    rows[i].forEach(({ text, kind, value }, other) => {
      const before = rows[i - 1][other];
      if (other !== column && ["epoch", "plain"].includes(kind) && value < before.value)
        throw new Error(`${where}: along the steps another number of the names goes back, from ${before.text} to` +
          ` ${text}; if they are of several runs, open the files of one`);
    });
}
