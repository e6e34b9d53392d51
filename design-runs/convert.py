"""The shipped codec as an exact pair with a fourth pathway: what can be taken over is, the rest starts near it."""
import sys, json
import numpy as np
from mrdcae_lite.codec import Codec
from mrdcae_lite.transforms import Architecture
from mrdcae_lite import entropy, pyramid
source, target = sys.argv[1:3]
z = dict(np.load(source, allow_pickle=False))
old = {k[11:]: v for k, v in z.items() if k.startswith("transforms/")}
oldp = {k[6:]: v for k, v in z.items() if k.startswith("prior/")}
a = Architecture(**json.loads(z["config"].tobytes()))._replace(resolutions=4)
O, N = pyramid.levels(3), pyramid.levels(4)
ob, nb = pyramid.bands(coarsest=True), pyramid.bands(coarsest=False)
perm = [ob.index(b) for b in nb]  # new order at 1/32 from the old one
low = [ob.index(b) for b in N[1].bands]
new = {}
for name, shape in a.shapes().items():
    if name == "analysis2/offset": new[name] = old[name][:, perm]
    elif name == "analysis3/offset" or name.startswith("reconstruction"): new[name] = np.zeros(shape, np.float16)
    elif name == "gain0/curve": new[name] = old["gain0/curve"][:, [ob.index(pyramid.Band(b.v // 2, b.h // 2, b.colour)) for b in N[0].bands]]
    elif name == "gain1/curve": new[name] = old["gain0/curve"][:, low]
    elif name in ("gain2/curve", "gain3/curve"): new[name] = old[f"gain{int(name[4])-1}/curve"]
    elif name.startswith("deblocking"): n = int(name[10]); new[name] = old[f"deblocking{max(n-1,0)}{name[11:]}"]
    else: new[name] = old[name]
    assert new[name].shape == shape, name
from mrdcae_lite.prior import shapes
ends = np.cumsum(O[0].groups); prior = {}
def place(band):  # old group and column in it
    i = ob.index(band); g = int(np.searchsorted(ends, i, side="right")); return g, i - (ends[g] - O[0].groups[g])
for name, shape in shapes(a.prior_width, 4).items():
    if name == "start": prior[name] = oldp[name]; continue
    lv, rest = int(name[5]), name[6:]
    if lv >= 2: prior[name] = oldp[f"level{lv-1}{rest}"]
    elif rest.startswith(("_mix", "_up")): prior[name] = oldp[f"level0{rest}"]
    else:  # base and low: hidden layers of the old group whose kind of bands it is, columns of each band's own
        g, kind = int(rest[6]), rest[8:]
        ends_n = np.cumsum(N[lv].groups)
        bands = N[lv].bands[ends_n[g] - N[lv].groups[g] : ends_n[g]]
        src = [place(b) for b in bands]
        main = src[0][0] if lv == 0 else (3 if bands[0].colour else 1)
        if kind in ("hidden", "hidden_bias"): prior[name] = oldp[f"level0_group{main}_{kind}"]
        elif kind == "update": prior[name] = np.stack([oldp[f"level0_group{s}_update"][:, :, c] for s, c in src], 2)
        else: prior[name] = np.stack([oldp[f"level0_group{s}_{kind}"][:, c] for s, c in src], 1)
    assert prior[name].shape == shape, (name, prior[name].shape, shape)
Codec(a, new, prior, entropy.Tables.unpack(z["tables"])).save(target)
print(a, a.multiplications())
