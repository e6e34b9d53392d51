"""Offline ranking of post-filters on the rounded DCT pyramid (frozen, untrained exact pair)."""
import os, sys, time, json
os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", OMP_NUM_THREADS="1", TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
import keras, numpy as np, tensorflow as tf
from keras import ops
from pathlib import Path
from mrdcae_lite.model import MRDCAE, quality_condition
from mrdcae_lite.layers import *
from mrdcae_lite.layers import Correction
from mrdcae_lite import pyramid
from mrdcae_lite.training import Photographs, make_optimizer
from mrdcae_lite.images import pictures_in, read_image

class CellFilter(Correction):
    def __init__(self, size, offset, width, mixes=1, taps=3, means=True, **kw):
        super().__init__(**kw)
        self.size, self.offset, self.width, self.means = size, offset, width, means
        self.enter = keras.layers.Dense(width, use_bias=False, name="enter")
        self.film = keras.layers.Dense(2*width, kernel_initializer="zeros", name="film")
        self.mixes = [keras.layers.Conv2D(width, taps, padding="same", activation="relu", name=f"mix{i}") for i in range(mixes)]
        self.leave = keras.layers.Dense(3*size*size, kernel_initializer="zeros", name="leave")
    def build(self, shape):
        n = 32 // self.size
        self.enter.build((None, None, None, 3*self.size**2 + (12 if self.means else 0)))
        self.film.build((None, 4))
        for m in self.mixes: m.build((None, None, None, self.width))
        self.leave.build((None, None, None, self.width))
        self.place = self.add_weight(name="place", shape=(n, n, self.width), initializer="zeros")
        self.built = True
    def macs(self):
        w = self.width; a = self.size**2
        return (self.enter.kernel.shape[0]*w + sum(int(np.prod(m.kernel.shape)) for m in self.mixes) + w*3*a)/a
    def call(self, x, step, condition):
        s, o = self.size, self.offset
        _, H, W, _ = x.shape
        y = x[:, o:H-(s-o) if o else H, o:W-(s-o) if o else W]
        cells = space_to_depth(y, s)
        h, w = cells.shape[1:3]
        cells = ops.reshape(cells, (-1, h, w, s*s, 3))
        mean = ops.mean(cells, axis=3, keepdims=True)
        seen = ops.reshape(log_compress(4*(cells-mean)/step[..., None]), (-1, h, w, 3*s*s))
        if self.means:
            m = mean[:, :, :, 0]
            p = ops.pad(m, ((0,0),(1,1),(1,1),(0,0)), mode="symmetric")
            d = ops.concatenate([p[:, :-2, 1:-1]-m, p[:, 2:, 1:-1]-m, p[:, 1:-1, :-2]-m, p[:, 1:-1, 2:]-m], -1)
            seen = ops.concatenate([seen, log_compress(4*d/step)], -1)
        scale, shift = ops.split(self.film(condition)[:, None, None], 2, axis=-1)
        n = 32//s
        place = ops.tile(self.place, (-(-h//n), -(-w//n), 1))[:h, :w]
        hid = ops.relu(self.enter(seen)*(1+scale) + shift + place)
        first = hid
        for i, mix in enumerate(self.mixes):
            hid = mix(hid)
            if i % 2 == 1: hid = hid + first; first = hid
        change = self.PACE*step*self.leave(hid)
        change = depth_to_space(change, s)
        if o: change = ops.pad(change, ((0,0),(o,s-o),(o,s-o),(0,0)))
        return x + change

class Frozen(keras.Model):
    def __init__(self, blocks, filters):
        super().__init__()
        self.base = MRDCAE(blocks=0); self.base.build(); self.base.trainable = False
        typical = list(pyramid.typical_std(pyramid.bands(coarsest=False), 8))
        self.blocks = [ResidualBlock(192, 128, typical, name=f"b{i}") for i in range(blocks)]
        self.filters = filters
        self.tr = [keras.metrics.Mean(name=n) for n in ("dist", "gain")]
        for b in self.blocks: b.build((None, 16, 16, 192))
        for f in self.filters: f.build((None, 128, 128, 3))
        self.built = True
    def call(self, x, training=False):
        q = self.base._draw_qualities(ops.shape(x)[0], training)
        step, cond = quality_condition(q)
        lat, _ = self.base.analyse(x, q)
        ones = [ops.ones_like(l[..., :1]) for l in lat[1:]]
        sym, _ = self.base.encode(lat, ones, q)
        grid = ops.stop_gradient(self.base._finest(sym, q))
        plain = self.base.analysis[0].invert(grid*step)+.5
        for b in self.blocks: grid = grid + b(grid, step, cond)
        y = self.base.analysis[0].invert(grid*step)+.5
        for f in self.filters: y = f(y, step, cond)
        return plain, y, step
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        plain, z, step = y_pred
        e = ops.mean((x-z)**2, axis=(1,2,3)); e0 = ops.mean((x-plain)**2, axis=(1,2,3)); s = step[:,0,0,0]
        l = ops.mean(ops.sqrt(s*255)/5*3*e/(.14*s**2))
        self.tr[0].update_state(l); self.tr[1].update_state(-10*ops.log10(e/e0))
        return l
    @property
    def metrics(self): return [*super().metrics, *self.tr]

border = pyramid.borders(3)
def deblock(w=128): return [Deblocking(*b, w, name=f"d{n}") for n, b in enumerate(border)]
V = {
 "deblock": lambda: (0, deblock()),
 "blocks2+deblock": lambda: (2, deblock()),
 "E2": lambda: (0, [CellFilter(8, 4, 128, name="e0"), CellFilter(8, 4, 128, name="e1")]),
 "E84": lambda: (0, [CellFilter(8, 4, 128, name="e0"), CellFilter(8, 0, 128, name="e1")]),
 "Q80": lambda: (0, [CellFilter(4, 0, 80, mixes=2, name="q")]),
 "Q80s": lambda: (0, [CellFilter(4, 2, 80, mixes=2, name="q")]),
 "Q64x2": lambda: (0, [CellFilter(4, 2, 64, name="q0"), CellFilter(4, 0, 64, name="q1")]),
 "Q48x4": lambda: (0, [CellFilter(4, 2*(i%2), 64, name=f"q{i}") for i in range(4)]),
 "deblock+Q64": lambda: (0, [*deblock(), CellFilter(4, 0, 64, name="q")]),
 "deblock96+Q64": lambda: (0, [*deblock(96), CellFilter(4, 0, 64, name="q")]),
 "deblock64": lambda: (0, deblock(64)),
 "deblock64+Q64": lambda: (0, [*deblock(64), CellFilter(4, 0, 64, name="q")]),
 "deblock+Q48": lambda: (0, [*deblock(), CellFilter(4, 0, 48, name="q")]),
 "deblock64+Q96": lambda: (0, [*deblock(64), CellFilter(4, 0, 96, name="q")]),
 "deblock+E1": lambda: (0, [*deblock(), CellFilter(8, 4, 128, name="e")]),
}
if __name__ == "__main__":
    steps, lr = int(sys.argv[1]), float(sys.argv[2])
    D = Path(sys.argv[-1])
    tr = [read_image(p) for p in pictures_in(D/"train")[::3]]
    va = [read_image(p) for p in pictures_in(D/"validation")]
    tr, va = [[getattr(i, "rgb", i) if not isinstance(i, tuple) else i[0] for i in s] for s in (tr, va)]
    for name in sys.argv[3:-1]:
        keras.utils.set_random_seed(3)
        m = Frozen(*V[name]())
        m.compile(optimizer=make_optimizer(steps, lr), jit_compile=False)
        crops = Photographs(tr, size=256, batch=2, steps=steps, seed=3)
        judge = Photographs(va, size=256, batch=16, steps=4, augment=False, fixed=True)
        t = time.process_time()
        m.fit(crops, epochs=1, shuffle=False, verbose=0)
        t = time.process_time()-t
        m.optimizer.finalize_variable_values(m.trainable_variables)
        r = m.evaluate(judge, verbose=0, return_dict=True)
        macs = sum(f.macs() if hasattr(f, "macs") else (3*24*f.width+f.width*f.width+f.width*24)*2/f.period for f in m.filters) + len(m.blocks)*3456
        print(json.dumps({"name": name, "cpu": round(t), "kmac": round(macs/1000, 2), "params": int(sum(np.prod(v.shape) for v in m.trainable_variables)), **{k: round(v, 4) for k, v in r.items()}}), flush=True)
