"""What the study of redundancy asks, and how: fixed, and committed, before any accuracy was seen.

**Data.** Fashion-MNIST as all studies have it: 4,096 training images pooled to 14 × 14, all 10,000
test images, of which every accuracy here is taken. Labels clean, or a fifth of them drawn anew.

**Networks.** The VGG and the ResNet of chapter "Switching off momentum and weight decay", at half
their width: 17,890 parameters, 208 of them BatchNorm's, and 19,810 with 336. Its optimizer too:
SGD, batches of 64, η = .1, μ = .9, λ by the rule of the studies. A run has 12 epochs, *one* decay,
× .1; where nothing else is said, after 8.

**Recipes.** Four with momentum and decay (two networks, two kinds of labels), which have every part
of the study; and VGG with noise without momentum, without decay, without both, which have parts
1 (a) and (e), 3 and 4, so that what is predicted has something to vary over. Seeds 0, 1, 2, in this
order; should the clock end the study, whole seeds count and the chapter says how many.

**Stem.** Each recipe and seed is trained once at constant η, a checkpoint every half epoch, and
forked, with its momentum, wherever something else is to follow.

1. *Training a part.* From k = 1, 2, 3, 5, 8 on only (a) BatchNorm's scales and shifts, (b) as many
   entries of the whole network drawn at random, (c) the head; (d) nothing, but for BatchNorm's
   statistics, taken anew over the training images. (e) Everything, from the same stem. The
   schedule is the same for all. What is not trained keeps its bits: no decay either.
2. *Does the map know when?* The earliest safe k is the first of the five from which on (a) loses
   less than one point to (e), on the mean over seeds; 12, the whole run, where there is none. It is
   predicted by the first of the five at which a quantity passes a threshold, 12 where none does:
   cos(θ_k, θ_{k−1}) of the network; the lowest of its layers'; the return to the mean, over the
   last half epoch; against the training loss of epoch k, and how much lower it is than that of the
   epoch before, in shares; against one k for all. Threshold, or k, have the least mean error on
   the other recipes (leave one out; the middle one of equals); what counts is the error in epochs.
   All of it is known at epoch k.
3. *When to decay.* The stem forks at 2, 4, 6, 8, 10 with η × .1. Policies: a third and two thirds;
   when the return to the mean (one half epoch ahead, five checkpoints back) first is positive; when
   the training loss of an epoch is not 1 % below the best before; a random time of the five (their
   mean); the best of the five, in hindsight. A policy decays at the next of the five times that is
   not earlier than its signal, or not at all where there is none.
4. *Averages instead.* Of the stem, which never decays: the mean of the last five checkpoints
   (LAWA), of all from epoch 8 on (SWA), an exponential average with factor .8 from epoch 8 on;
   BatchNorm's statistics taken anew. Against the decay at 8, and against the stem's own end.
   The return to the mean over the epochs 8 to 12 of the *decayed* run is set beside the difference.
5. *Pausing layers*, of the two VGG recipes with momentum and decay. A layer is a convolution and
   its BatchNorm, or the head. From epoch 3 on layers are paused, the paused share of the parameters
   rising linearly to all at 12, each layer at the middle of its own share: then every order costs
   the same parameter-steps, those of 7.5 whole epochs. Orders: by settling (`settling` at .95 seen
   from initialization, equals by their mean cosine to the end; from a run of seed 100, which is
   used for nothing else); by depth, first layers first; two random ones a seed. Against 7.5 whole
   epochs with the decay after 5.

Costs are parameter-steps and FLOPs, as torch counts them. Differences are paired by seed with
Student's 95 % intervals. Nothing is chosen by accuracy but what 2 fits on other recipes.

**Added afterwards**, when parts 1 and 4 of three recipes with seed 0 had been seen: the end of each
stem with BatchNorm's statistics taken anew, since averages have that too. Seeds 3 and 4, when seeds
0 and 1 had been seen: two are too few for the questions asked, and nothing else was changed. When
four seeds had been seen: the end of the run decayed at 8 with its statistics taken anew as well,
since some of these runs end far below their twins."""

from ..studies.catalogue import VGG, matched_decay

EPOCHS, DECAY_AT, STEPS_AN_EPOCH = 12, 8, 64
CHECKPOINTS_AN_EPOCH = 2
SEEDS = (0, 1, 2, 3, 4)
SCOUT = 100  # the seed that orders of layers are taken from

STARTS = (1, 2, 3, 5, 8)  # k
DECAYS = (2, 4, 6, 8, 10)
SAFE_LOSS = 0.01
IMPROVEMENT = 0.01  # what a loss must fall by, or it has come to its plateau

LAST, EMA_FACTOR = 5, 0.8
PAUSED_FROM, RANDOM_ORDERS = 3, 2
SHORTER_DECAY = 5  # of a run of 7.5 epochs, the same two thirds
SETTLED = 0.95


def decayed_after(epoch, recipe):
    """The recipe with its one decay after an epoch; EPOCHS is none."""
    if epoch == EPOCHS:
        return recipe.replace(schedule="constant")
    return recipe.replace(schedule="step", decay_at=(epoch / EPOCHS,))


_VGG = VGG.replace(
    width=8,
    weight_decay=matched_decay(0.1, DECAY_AT * STEPS_AN_EPOCH),
    epochs=EPOCHS,
    decay_at=(DECAY_AT / EPOCHS,),
    checkpoints=CHECKPOINTS_AN_EPOCH * EPOCHS,
    label_noise=0.0,
)
_NOISY = _VGG.replace(label_noise=0.2)

# With all parts of the study, and with parts 1 (a) and (e), 3 and 4.
WHOLE = {
    "VGG, clean": _VGG,
    "VGG, noisy": _NOISY,
    "ResNet, clean": _VGG.replace(model="resnet"),
    "ResNet, noisy": _NOISY.replace(model="resnet"),
}
CELLS = {
    "VGG, noisy, no momentum": _NOISY.replace(momentum=0.0),
    "VGG, noisy, no decay": _NOISY.replace(weight_decay=0.0),
    "VGG, noisy, neither": _NOISY.replace(momentum=0.0, weight_decay=0.0),
}
RECIPES = WHOLE | CELLS
PAUSED = ("VGG, clean", "VGG, noisy")
