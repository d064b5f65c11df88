"""How far off previews are: python benchmarks/preview.py (or NAME=FOLDER of checkpoints, several).

Of each run the exact kernel, then samples of several shares with many seeds: by how much ω, ω_0,
the entries of C and two angles are off, by how much `standard_error` says they are, how often
x ± 1.96 s holds the exact number, and against that the law s = s₁ √((1 − f)/b), f the share that is
read, b the blocks. Without a run it trains one, which takes half a minute.

``--out`` puts it into a JSON file, beside the runs of other names that are there already:

{"machine": {…},                                 as of the other benchmarks
 "runs": {NAME: {
   "p": 1583520, "n": 21,                        parameters, checkpoints
   "exact": {NUMBER: x},                         mean over its entries; angles in degrees
   "law": {ALLOCATION: {NUMBER: s₁}},            least squares of log s over the samples of
                                                 100 blocks or more
   "samples": [{                                 of a run all shares, allocations and lengths
     "allocation": "equal" | "neyman",           equal shares at once; or continued from a third
     "asked": 0.03, "share": 0.034,              of sample=; read on average, of all parameters
     "block": 193, "blocks": 278, "of": 8216,    numbers of a block; blocks drawn on average, of all
     "draws": 100,
     "numbers": {NUMBER: {
       "off": 0.0042, "claimed": 0.0039,         root mean square over draws and entries
       "bias": 0.0001,                           mean of sampled − exact, over draws and entries
       "worst": 0.013,                           largest entry's error, mean over draws
       "covered": 0.92}}}]}}}

NUMBER: "omega", "omega_0", "map" (entries of C above the diagonal), "consecutive" and
"update_total" (angles between updates, and of updates to the whole way)."""
