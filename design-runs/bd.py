"""BD-rate against JPEG 4:2:0 optimised on centre crops of 384 of the 18 validation photographs."""
import sys, json, time, os, argparse
import numpy as np
from pathlib import Path
from mrdcae_lite import pyramid
p = argparse.ArgumentParser(); p.add_argument("codec"); p.add_argument("folder"); p.add_argument("--masking", type=float); p.add_argument("--every", type=int, default=1); p.add_argument("--offset", type=int, default=0)
o = p.parse_args()
if o.masking is not None: pyramid.MASKING = o.masking
from mrdcae_lite.codec import load
from mrdcae_lite.baselines import BASELINES
from mrdcae_lite.images import pictures_in, read_image
from mrdcae_lite.metrics import psnr, ssim, ssim_db, bd_rate
D = Path(o.folder)
crops = []
for path in pictures_in(D)[o.offset::o.every]:
    x = read_image(path); h, w = x.shape[:2]; s = min(384, h // 32 * 32, w // 32 * 32)
    y0, x0 = (h - s) // 2, (w - s) // 2
    crops.append((path.stem, np.ascontiguousarray(x[y0:y0+s, x0:x0+s])))
cache = Path("jpeg384.json"); known = json.loads(cache.read_text()) if cache.exists() else {}
def points(enc, dec, qs, x):
    out = []
    for q in qs:
        d = enc(x, q); t = time.process_time(); y = dec(d); t = time.process_time() - t
        out.append((8*len(d)/x[..., 0].size, psnr(x, y, data_range=255), ssim_db(ssim(x, y, data_range=255)), t))
    return out
j = BASELINES["jpeg"]; c = load(o.codec)
res, bpps, ts, rows = [], [], [], []
for name, x in crops:
    if name not in known: known[name] = points(j.encode, j.decode, j.sweep, x)
    a = np.array(known[name])
    b = np.array(points(lambda x, q: c.compress(x, int(q)), c.decompress, (5, 20, 35, 50, 65, 80), x))
    def rate(k):
        r = bd_rate(a[:, 0], a[:, k], b[:, 0], b[:, k]); return getattr(r, "percent", None) if not isinstance(r, (float, tuple)) else (r[0] if isinstance(r, tuple) else r)
    res.append((rate(1), rate(2))); rows.append(b)
    ts.append((b[:, 3].sum(), x[..., 0].size * len(b)))
cache.write_text(json.dumps(known))
m = np.mean(rows, 0); t = np.array(ts).sum(0)
print(json.dumps({"codec": o.codec, "masking": o.masking, "n": len(crops), "bd_psnr": round(float(np.mean([r[0] for r in res])), 2), "bd_ssim": round(float(np.mean([r[1] for r in res])), 2), "decode_MP_s_all_rates": round(t[1]/t[0]/1e6, 2), "curve": [[round(float(v), 4) for v in r[:3]] for r in m]}))
