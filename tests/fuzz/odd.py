"""Values that readers trip over."""

NUMBERS = (0, 1, 2, 3, 7, 8, 16, 64, 100, 127, 128, 255, 256, 1000, (1 << 15) - 1, 1 << 15)
NUMBERS += ((1 << 16) - 1, 1 << 16, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32)
NUMBERS += (1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 10**18, 10**30, 10**400)
NUMBERS += (-1, -2, -8, -128, -(1 << 31), -(1 << 63))

_TEXTS = """
a é 0 -1 1e9 nan . .. ../x /etc/hostname a/b a.b a..b weight layers.0.weight
model state_dict module.w _orig_mod.w optimizer param_groups exp_avg ema params step epoch
__metadata__ lora_A.weight running_mean w_scale
float32 float64 bfloat16 float16 int8 uint8 complex64 float8_e4m3fn
F32 F64 F16 BF16 I64 I8 U8 F4 BOOL C64 <f4 <f8 <i4 >f4 <U3 |V4 <c8
cpu cuda:0 meta little big model.safetensors.index.json model-00001-of-00002.safetensors
"""
TEXTS = ("", "w\0", "x" * 300, "\ud800", "\x1b[31m", "\n", " ", "|O", "(2,)<f4", *_TEXTS.split())

VALUES = (None, True, False, 0.5, -0.0, 1e300, float("nan"), float("inf"), [], {}, [0], [[0]])
VALUES += ([1, 2], {"a": 1}, {"": None}, [None] * 20, [1] * 70, [[[[[[[[[[1]]]]]]]]]])

# What JSON can say and Python's json does not write.
JSON = ("[" * 2000 + "]" * 2000, '{"a":' * 2000 + "1" + "}" * 2000, "1e999", "-1e999", "NaN")
JSON += ("1" + "0" * 5000, "1.0", "-0", "1e2", '"\\ud800"', '"\\u0000"', "[" * 100_000, "0x10")

# Words in names of checkpoints.
_WORDS = """
step steps epoch iter ckpt checkpoint global_step tokens stage ba seed init final last best ema
lr loss run shard of rank0 1e3 1e-3 1e99 1e5000 0.25 480k 4B 1T 2.5M 16.78B 0 00 007
20240131 2024-01-31 2024-01-31_12-30-00 ٣ ² é - = _ . .. tmp .pt .safetensors .npz -1 +1
"""
WORDS = ("1" * 30, "1" * 200, "9" * 19, " ", "\x1b[31m", *_WORDS.split())
