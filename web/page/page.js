/**
 * "Try your own photograph": everything that the reader sees and touches.
 *
 * Each element of class `mr-try` on the page becomes one. The worker beside it does the work, and is
 * started, with all that it loads, when the reader chooses a picture.
 */

const SAMPLES = ["flowers", "dog", "bulb", "guitar", "path", "reflect", "sumac", "waves"];
const LEVELS = ["#3b6fb6", "#e0a030", "#c03a2b"]; // colours of the routing map, low to high
const QUALITY = 35; // about 0.4 bits a pixel for a photograph
const GAIN = 8; // of the error picture
const near = (path) => new URL(path, import.meta.url);

const MARKUP = `
<div class="mr-choose">
  <label class="mr-drop"><input type="file" accept="image/*,.mrdc">
    <strong>Choose a photograph</strong> or a <code>.mrdc</code> file, or drop it here.</label>
  <label class="mr-camera"><input type="file" accept="image/*" capture="environment">
    <strong>Take a photograph</strong></label>
  <div class="mr-samples" role="group" aria-label="Or take one of these samples"></div>
</div>
<p class="mr-status" role="status"></p>
<p class="mr-busy" hidden><progress max="1" aria-label="Progress"></progress>
  <button type="button" name="stop">Stop</button></p>
<div class="mr-result" hidden>
  <div class="mr-controls">
    <label>Quality <output>${QUALITY}</output>
      <input type="range" name="quality" min="0" max="100" value="${QUALITY}"></label>
    <form><label>or at most <input type="number" name="kilobytes" min="0.1" step="0.1" size="6"
      inputmode="decimal" required> kB</label> <button>Fit</button></form>
    <label>Beside it <select name="beside">
      <option>JPEG</option><option>WebP</option><option>AVIF</option>
      <option value="original">the original</option>
      <option value="error">the error, ${GAIN} times as large</option></select></label>
    <label>Levels <select name="level"><option value="3">all</option>
      <option value="2">low and medium</option><option value="1">low only</option></select></label>
    <label><input type="checkbox" name="routing"> Routing map</label>
  </div>
  <figure class="mr-widget mr-divider">
    <div class="mr-words"><span></span><span></span></div>
    <div class="mr-stage"><canvas role="img"></canvas><canvas class="mr-map" hidden></canvas>
      <canvas class="mr-right" role="img"></canvas><span class="mr-line"></span>
      <input type="range" min="0" max="100" value="50" aria-label="Divider"></div>
    <figcaption></figcaption>
  </figure>
  <div class="mr-wide"><table><thead><tr><th>file</th><th>bytes</th><th>bits a pixel</th>
    <th>PSNR, dB</th><th>SSIM</th></tr></thead><tbody></tbody></table></div>
  <p class="mr-save"><a class="mr-mrdc">Save the .mrdc file</a> <a class="mr-png">Save as PNG</a></p>
</div>`;

/** What keeps this browser from running the codec, or nothing. */
function missing() {
  const needed = { WebAssembly, Worker, OffscreenCanvas, DecompressionStream, createImageBitmap };
  const [name] = Object.entries(needed).find(([, thing]) => !thing) ?? [];
  return name && `This browser cannot run the codec, as it has no ${name}. Newer ones can.`;
}

/** The worker, and a promise for each task that it is given. */
class Codec {
  constructor(onProgress) {
    this.onProgress = onProgress;
    this.known = {}; // what a new worker has to be told
    this.waiting = new Map();
    this.count = 0;
  }

  run(task, what = {}) {
    this.worker ??= this.started();
    const id = ++this.count;
    this.worker.postMessage({ id, task, ...what });
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  started() {
    const worker = new Worker(near("worker.js"), { type: "module" });
    worker.onmessage = ({ data: { id, step, share, error, result } }) => {
      if (step) return this.onProgress(step, share);
      const { resolve, reject } = this.waiting.get(id) ?? {};
      this.waiting.delete(id);
      if (error) reject?.(new Error(error));
      else resolve?.(result);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.stop("The codec could not be started or ended by itself. Try again, or a smaller picture.");
    };
    worker.postMessage({ id: 0, task: "resume", ...this.known });
    return worker;
  }

  stop(why = "Stopped.") {
    this.worker?.terminate();
    this.worker = null;
    for (const { reject } of this.waiting.values()) reject(new Error(why));
    this.waiting.clear();
  }
}

class Try {
  constructor(root) {
    root.innerHTML = MARKUP;
    this.root = root;
    this.part = (selector) => root.querySelector(selector);
    this.codec = new Codec((step, share) => this.showProgress(step, share));
    this.forget();
    this.listen();
    this.withoutAvif();
    const why = missing();
    if (why) this.say(why);
    for (const input of root.querySelectorAll(".mr-choose input")) input.disabled = Boolean(why);
    this.part(".mr-camera").hidden = !matchMedia("(pointer: coarse)").matches;
    for (const name of SAMPLES) this.part(".mr-samples").append(this.sample(name, why));
  }

  /** Few browsers write AVIF files; the others do not offer them. */
  async withoutAvif() {
    if (missing()) return;
    const canvas = new OffscreenCanvas(1, 1);
    canvas.getContext("2d");
    const blob = await canvas.convertToBlob({ type: "image/avif" });
    if (blob.type === "image/avif") return;
    const [option] = [...this.part("[name=beside]").options].filter(({ value }) => value === "AVIF");
    option.remove();
  }

  sample(name, why) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", disabled: Boolean(why) });
    button.innerHTML = `<img src="${near(`../samples/${name}.jpg`)}" alt="${name}" width="64" height="64" loading="lazy">`;
    button.onclick = () =>
      this.work(async () => {
        const answer = await fetch(near(`../samples/${name}.png`)).catch(() => ({ ok: false }));
        if (!answer.ok) throw new Error("The sample could not be loaded. Try again.");
        await this.open(await answer.blob(), name);
      });
    return button;
  }

  listen() {
    const { part } = this;
    for (const input of this.root.querySelectorAll(".mr-choose input")) {
      input.onchange = () => {
        if (input.files[0]) this.take(input.files[0]);
        input.value = "";
      };
    }
    const drop = part(".mr-drop");
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("mr-over", name.endsWith("er"));
        if (name === "drop" && event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
      });
    }
    part("[name=stop]").onclick = () => this.codec.stop();
    const quality = part("[name=quality]");
    quality.oninput = () => (part("output").value = quality.value);
    quality.onchange = () => this.work(() => this.compress());
    part("form").onsubmit = (event) => {
      event.preventDefault();
      this.work(() => this.fit());
    };
    part("[name=level]").onchange = () => this.work(() => this.showLevel());
    part("[name=beside]").onchange = () => this.work(() => this.showBeside());
    part("[name=routing]").onchange = () => this.showRouting();
    const divider = part(".mr-stage input");
    divider.oninput = () => {
      part(".mr-stage").style.setProperty("--cut", `${divider.value}%`);
      divider.setAttribute("aria-valuetext", `${divider.value} % from the left`);
    };
  }

  // --- work, one at a time

  /** Do something that takes a while; what goes wrong is said in the line of the status. */
  async work(task) {
    if (this.busy) return;
    this.setBusy(true);
    try {
      await task();
    } catch (error) {
      this.say(error.message);
    }
    this.setBusy(false);
  }

  setBusy(busy) {
    this.busy = busy;
    this.part(".mr-busy").hidden = !busy;
    this.part("progress").removeAttribute("value");
    const own = (control) => control.name !== "stop" && !control.closest(".mr-stage");
    for (const control of this.root.querySelectorAll("input, select, button")) {
      if (own(control)) control.disabled = busy || this.isOut(control);
    }
  }

  /** Whether a control has no meaning for what is shown: without an original nothing is compared. */
  isOut(control) {
    return !this.original && ["quality", "kilobytes", "beside"].includes(control.name);
  }

  showProgress(step, share) {
    this.part("progress").value = share;
    this.say(`${step} …`);
  }

  say(line) {
    this.part(".mr-status").textContent = line;
  }

  // --- the picture

  take(blob) {
    return this.work(() => this.open(blob, blob.name.replace(/\.[^.]*$/, "")));
  }

  forget() {
    this.original = this.result = this.whole = null;
    this.rivals = new Map();
  }

  async open(blob, name) {
    this.say("Reading the file …");
    const found = await this.codec.run("open", { blob });
    this.forget();
    this.name = name;
    this.original = found.picture ?? null;
    this.part("[name=level]").value = "3";
    this.codec.known = { original: this.original, file: found.file ?? null };
    if (!found.picture) return this.show(found);
    const note = found.scaledFrom
      ? `Scaled from ${found.scaledFrom.join(" x ")} to ${found.picture.width} x ` +
        `${found.picture.height}, as this page takes 12 megapixels. `
      : "";
    await this.compress(note);
  }

  async compress(note = "") {
    const quality = Number(this.part("[name=quality]").value);
    await this.show(await this.codec.run("compress", { quality }), note);
  }

  async fit() {
    const bytes = Math.floor(1000 * Number(this.part("[name=kilobytes]").value));
    await this.show(await this.codec.run("fit", { bytes }));
  }

  // --- what comes back

  async show(result, note = "") {
    this.whole = result;
    this.file = result.file;
    this.codec.known = { original: this.original, file: result.file };
    this.rivals.clear();
    this.part("[name=level]").value = "3";
    this.part("[name=quality]").value = this.part("output").value = result.quality;
    this.part("[name=kilobytes]").value = (result.file.length / 1000).toFixed(1);
    this.part(".mr-result").hidden = false;
    const times = result.encoding
      ? `encoded in ${result.encoding.toFixed(1)} s, decoded in ${result.decoding.toFixed(1)} s`
      : `decoded in ${result.decoding.toFixed(1)} s`;
    const { width, height } = result;
    const more = [
      result.stored && `${result.stored} tile${result.stored > 1 ? "s" : ""} stored without loss`,
      result.kept && `${result.kept} bytes of it for transparency and the like`,
      result.profile && "its colour profile is not applied here",
    ].filter(Boolean);
    this.summary = `${note}${[`${width} x ${height} pixels, ${times}`, ...more].join("; ")}.`;
    this.draw(result);
    this.link("mrdc", new Blob([result.file]), `${this.name}.mrdc`);
    await this.showBeside();
  }

  draw(result) {
    this.result = result;
    const { width, height, data } = result;
    this.paint(this.part("canvas"), result, "The compressed picture");
    this.part("figure").style.width = `min(100%, ${width}px)`;
    this.showRouting();
    const png = new OffscreenCanvas(width, height);
    png.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
    const name = `${this.name}.png`;
    png.convertToBlob({ type: "image/png" }).then((blob) => this.link("png", blob, name));
  }

  async showLevel() {
    const level = Number(this.part("[name=level]").value);
    if (level === 3) this.draw(this.whole);
    else this.draw(await this.codec.run("level", { level }));
    await this.showBeside();
  }

  /** Show beside the compressed picture what was chosen. */
  async showBeside() {
    const right = this.part(".mr-right");
    right.hidden = this.part(".mr-line").hidden = this.part(".mr-stage input").hidden = !this.original;
    const left = `MR-DCAE, ${thousands(this.size())} bytes`;
    if (!this.original) return this.caption(left, "");
    const beside = this.part("[name=beside]").value;
    if (beside === "original") {
      this.paint(right, this.original, "The original");
      this.caption(left, "original");
    } else if (beside === "error") {
      this.paint(right, this.error(), `The error, ${GAIN} times as large`);
      this.caption(left, `error, ${GAIN} times as large`);
    } else {
      const found = await this.rival(beside);
      this.paint(right, { ...this.original, data: found.data }, `The same as ${beside}`);
      this.caption(left, `${beside}, ${thousands(found.bytes)} bytes`);
    }
  }

  /** Another codec's picture at the size of what is shown; each is made once. */
  async rival(format) {
    const key = `${format} ${this.result.level}`;
    if (!this.rivals.has(key)) {
      const bytes = this.size() - this.result.kept;
      this.rivals.set(key, await this.codec.run("rival", { format, bytes }));
    }
    return this.rivals.get(key);
  }

  size() {
    return this.result.sizes[this.result.level - 1];
  }

  caption(left, right) {
    const [first, second] = this.root.querySelectorAll(".mr-words span");
    [first.textContent, second.textContent] = [`◀ ${left}`, right && `${right} ▶`];
    this.part(".mr-stage input").setAttribute("aria-label", `Divider between ${left} and ${right}`);
    this.part("figcaption").textContent = this.original
      ? "Drag the divider, or use the arrow keys."
      : "This file came without its original: nothing can be compared.";
    this.say(this.summary);
    this.tabulate();
  }

  tabulate() {
    const own = { name: "MR-DCAE", bytes: this.size(), ...this.result };
    const rows = [own];
    for (const [key, found] of this.rivals) {
      const [name, level] = key.split(" ");
      if (Number(level) === this.result.level) rows.push({ name, ...found });
    }
    const pixels = this.result.width * this.result.height;
    const body = rows.map(({ name, bytes, psnr, ssim }) => {
      const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
      const bpp = number((8 * bytes) / pixels, 3);
      const exact = psnr === Infinity ? "exact" : number(psnr, 2);
      return [name, thousands(bytes), bpp, exact, number(ssim, 4)];
    });
    const row = ([name, ...cells]) =>
      `<tr><th scope="row">${name}</th>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
    this.part("tbody").innerHTML = body.map(row).join("");
  }

  // --- drawing

  paint(canvas, { width, height, data }, label) {
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
    canvas.setAttribute("aria-label", label);
  }

  error() {
    const { width, height, data } = this.result;
    const amplified = data.map((value, at) =>
      at % 4 === 3 ? 255 : GAIN * Math.abs(value - this.original.data[at]),
    );
    return { width, height, data: amplified };
  }

  showRouting() {
    const map = this.part(".mr-map");
    map.hidden = !this.part("[name=routing]").checked;
    if (map.hidden) return;
    const { width, height, routing, patches } = this.result;
    Object.assign(map, { width, height });
    const context = map.getContext("2d");
    routing.forEach((level, patch) => {
      context.fillStyle = LEVELS[level - 1];
      context.fillRect(32 * (patch % patches[1]), 32 * Math.floor(patch / patches[1]), 32, 32);
    });
    const count = (level) => routing.filter((own) => own === level).length;
    this.part("figcaption").textContent =
      `Levels of the patches: low (blue) ${count(1)}, medium (yellow) ${count(2)}, ` +
      `high (red) ${count(3)}.`;
  }

  link(name, blob, file) {
    const link = this.part(`a.mr-${name}`);
    if (link.href) URL.revokeObjectURL(link.href);
    Object.assign(link, { href: URL.createObjectURL(blob), download: file });
  }
}

const thousands = (number) => number.toLocaleString("en");

for (const root of document.querySelectorAll(".mr-try")) new Try(root);
