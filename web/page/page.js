/**
 * "Try your own photograph": everything that the reader sees and touches.
 *
 * Each element of class `mr-try` on the page becomes one. The worker beside it does the work, and is
 * started, with all that it loads, when the reader chooses a picture.
 */

const SAMPLES = ["flowers", "dog", "bulb", "guitar", "path", "reflect", "sumac", "waves"];
const LEVELS = ["#3b6fb6", "#e0a030", "#c03a2b"]; // colours of the routing map, low to high
const QUALITY = 35; // about 0.4 bits per pixel for a photograph
const GAIN = 8; // of the error picture
const SMALLEST = 320; // pixels of the page along a picture; smaller ones are enlarged
const PAUSE = 300; // milliseconds after the last change of a control
const OURS = "MR-DCAE Lite";
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
<div class="mr-busy" hidden><span class="mr-step"></span>
  <progress max="1" aria-label="Progress"></progress>
  <button type="button" name="stop">Stop</button></div>
<div class="mr-result" hidden>
  <div class="mr-controls">
    <label>Quality <output>${QUALITY}</output>
      <input type="range" name="quality" min="0" max="100" value="${QUALITY}" autocomplete="off"></label>
    <form><label>Largest file <input type="number" name="kilobytes" min="0.01" step="any" size="6"
      inputmode="decimal" required autocomplete="off"> kB</label> <button name="fit">Fit</button></form>
    <label>Compare with <select name="beside" autocomplete="off">
      <option>JPEG</option><option>WebP</option><option>AVIF</option>
      <option value="original">the original</option>
      <option value="error">the error, ${GAIN} times as large</option></select></label>
    <label>Levels <select name="level" autocomplete="off"><option value="3">all</option>
      <option value="2">low and medium</option><option value="1">low only</option></select></label>
    <label><input type="checkbox" name="routing" autocomplete="off"> Routing map</label>
    <label><input type="checkbox" name="full" autocomplete="off"> Full size</label>
  </div>
  <figure class="mr-widget mr-divider">
    <div class="mr-words"><span></span><span></span></div>
    <div class="mr-scroll"><div class="mr-stage">
      <canvas role="img"></canvas><canvas class="mr-map" hidden></canvas>
      <canvas class="mr-right" role="img"></canvas><span class="mr-line"></span>
      <input type="range" name="divider" min="0" max="100" value="50" autocomplete="off"></div></div>
    <figcaption><span class="mr-help"></span> <span class="mr-key" hidden></span></figcaption>
  </figure>
  <div class="mr-wide"><table><thead><tr><th>file</th><th>bytes</th><th>bits per pixel</th>
    <th>PSNR, dB</th><th>SSIM</th></tr></thead><tbody></tbody></table></div>
  <p class="mr-save"><a class="mr-mrdc">Save the .mrdc file</a> <a class="mr-png">Save as PNG</a></p>
</div>`;

/** What keeps this browser from running the codec, or nothing. */
function missing() {
  const needed = "WebAssembly Worker OffscreenCanvas DecompressionStream createImageBitmap";
  const name = needed.split(" ").find((thing) => !globalThis[thing]);
  return name && `This browser cannot run the codec, as it has no ${name}. A newer one can.`;
}

/** The worker, and a promise for each task that it is given. */
class Codec {
  constructor(onProgress) {
    this.onProgress = onProgress;
    this.waiting = new Map();
    this.count = 0;
  }

  run(task, what) {
    this.worker ??= this.started();
    const id = ++this.count;
    this.worker.postMessage({ id, task, ...what });
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  started() {
    const worker = new Worker(near("worker.js"), { type: "module" });
    worker.onmessage = ({ data: { id, step, share, error, result } }) => {
      if (!this.waiting.has(id)) return;
      if (step) return this.onProgress(step, share);
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.stop("The codec could not start, or it crashed. Try again, or a smaller picture.");
    };
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
    this.codec = new Codec((step, share) => {
      this.part(".mr-step").textContent = step;
      this.part("progress").value = share;
    });
    this.state = null; // what is shown: a picture, its file, and what was made of them
    this.next = null; // what to do when the work at hand is done
    const why = missing();
    if (why) this.say(why);
    else this.listen();
    for (const input of root.querySelectorAll(".mr-choose input")) input.disabled = Boolean(why);
    this.part(".mr-camera").hidden = !matchMedia("(pointer: coarse)").matches;
    for (const name of SAMPLES) this.part(".mr-samples").append(this.sample(name, why));
  }

  sample(name, why) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", disabled: Boolean(why) });
    const size = 'width="64" height="64" loading="lazy"';
    button.innerHTML = `<img src="${near(`../samples/${name}.jpg`)}" alt="Sample: ${name}" ${size}>`;
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
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      this.root.addEventListener(name, (event) => {
        event.preventDefault();
        part(".mr-drop").classList.toggle("mr-over", name === "dragenter" || name === "dragover");
        if (name === "drop" && event.dataTransfer.files[0]) this.take(event.dataTransfer.files[0]);
      });
    }
    part("[name=stop]").onclick = () => {
      this.next = null;
      this.codec.stop();
    };
    const quality = part("[name=quality]");
    quality.oninput = () => (part("output").value = quality.value);
    let pause = 0;
    quality.onchange = () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.work(() => this.compress(Number(quality.value))), PAUSE);
    };
    part("form").onsubmit = (event) => {
      event.preventDefault();
      const bytes = Math.floor(1000 * Number(part("[name=kilobytes]").value));
      this.work(() => this.fit(bytes));
    };
    part("[name=level]").onchange = () => this.work(() => this.showLevel());
    part("[name=beside]").onchange = () => this.work(() => this.showBeside());
    part("[name=routing]").onchange = () => this.showRouting();
    part("[name=full]").onchange = () => this.showSize();
    const divider = part("[name=divider]");
    divider.oninput = () => {
      part(".mr-stage").style.setProperty("--cut", `${divider.value}%`);
      divider.setAttribute("aria-valuetext", `${divider.value} % from the left`);
    };
    this.withoutAvif();
  }

  /** Few browsers write AVIF files; the others do not offer them. */
  async withoutAvif() {
    const canvas = new OffscreenCanvas(1, 1);
    canvas.getContext("2d");
    const blob = await canvas.convertToBlob({ type: "image/avif" });
    if (blob.type === "image/avif") return;
    [...this.part("[name=beside]").options].find(({ value }) => value === "AVIF").remove();
  }

  // --- work, one at a time

  /**
   * Do something that takes a while. Of what is asked for meanwhile the last is done afterwards. If
   * something goes wrong, it is said, and the controls show again what the picture shows.
   */
  async work(task) {
    this.next = task;
    if (this.busy) return;
    this.setBusy(true);
    while (this.next) {
      const now = this.next;
      this.next = null;
      this.part("progress").removeAttribute("value");
      this.part(".mr-step").textContent = "Reading the file";
      try {
        await now();
      } catch (error) {
        this.say(error.message);
        this.putControlsBack();
      }
    }
    this.setBusy(false);
  }

  setBusy(busy) {
    this.busy = busy;
    this.part(".mr-busy").hidden = !busy;
    this.root.setAttribute("aria-busy", busy);
    if (busy) this.say("");
  }

  putControlsBack() {
    if (!this.state) return;
    const { whole, shown, beside, file, original } = this.state;
    this.part("[name=quality]").value = this.part("output").value = whole.quality;
    this.part("[name=kilobytes]").value = Math.ceil(file.length / 100) / 10;
    this.part("[name=level]").value = shown.level;
    this.part("[name=beside]").value = beside;
    for (const name of ["quality", "kilobytes", "fit", "beside"]) {
      this.part(`[name=${name}]`).disabled = !original;
    }
    for (const option of this.part("[name=level]").options) {
      option.disabled = Number(option.value) > whole.level;
    }
  }

  say(line) {
    this.part(".mr-status").textContent = line;
  }

  // --- what can be asked for

  take(blob) {
    return this.work(() => this.open(blob, blob.name.replace(/\.[^.]*$/, "")));
  }

  async open(blob, name) {
    const { picture, scaledFrom, file, level } = await this.codec.run("open", { blob });
    if (file) return this.show({ name, original: null, file, level });
    const { width, height } = picture;
    const note = scaledFrom
      ? `Scaled from ${scaledFrom.join(" x ")} to ${width} x ${height}, because this page handles ` +
        "at most 12 megapixels. "
      : "";
    this.say(note);
    const quality = Number(this.part("[name=quality]").value);
    const made = await this.codec.run("compress", { picture, quality });
    await this.show({ name, original: picture, note, ...made });
  }

  async compress(quality) {
    const { name, original, note } = this.state;
    const made = await this.codec.run("compress", { picture: original, quality });
    await this.show({ name, original, note, ...made });
  }

  async fit(bytes) {
    const { name, original, note } = this.state;
    const made = await this.codec.run("fit", { picture: original, bytes });
    await this.show({ name, original, note, ...made });
  }

  /** Show a file; what was shown before stays until it is decoded. */
  async show({ name, original, file, level = 3, note = "", encoding }) {
    const whole = await this.codec.run("shown", { file, level, picture: original });
    const beside = this.part("[name=beside]").value;
    const words = this.summary(whole, encoding, level);
    this.state = { name, original, file, note, whole, shown: whole, beside, rivals: new Map() };
    this.state.words = note + words;
    this.part(".mr-result").hidden = false;
    this.draw();
    this.putControlsBack();
    await this.showBeside();
  }

  summary(whole, encoding, level) {
    const made = encoding ? `encoded in ${encoding.toFixed(1)} s, ` : "";
    const parts = [
      `${whole.width} x ${whole.height} pixels`,
      `${made}decoded in ${whole.decoding.toFixed(1)} s`,
      level < 3 && `the file is cut off: ${level} of its 3 levels ${level > 1 ? "are" : "is"} there`,
      whole.stored && `${whole.stored} tile${whole.stored > 1 ? "s" : ""} stored without loss`,
      whole.kept && `${whole.kept} of its bytes hold transparency, profile and the like`,
      whole.profile && "its colour profile is not applied here",
    ];
    return `${parts.filter(Boolean).join("; ")}.`;
  }

  async showLevel() {
    const level = Number(this.part("[name=level]").value);
    const { whole, file, original } = this.state;
    const same = level === whole.level;
    const shown = same ? whole : await this.codec.run("shown", { file, level, picture: original });
    this.state.shown = shown;
    this.draw();
    await this.showBeside();
  }

  /** Show beside the compressed picture what was chosen. */
  async showBeside() {
    const { state, part } = this;
    const { original, shown } = state;
    const left = `${OURS}, ${thousands(shown.size)} bytes`;
    for (const selector of [".mr-right", ".mr-line", "[name=divider]"]) {
      part(selector).hidden = !original;
    }
    if (!original) return this.caption(left, "");
    const beside = part("[name=beside]").value;
    const right = part(".mr-right");
    let found = original;
    let words = "original";
    if (beside === "error") {
      found = this.error();
      words = `error, ${GAIN} times as large`;
    } else if (beside !== "original") {
      right.hidden = part(".mr-line").hidden = part("[name=divider]").hidden = true;
      this.caption(left, `${beside}: not compared`); // what stands if this is stopped
      const rival = await this.rival(beside);
      found = { ...original, data: rival.data };
      words = `${beside}, ${thousands(rival.bytes)} bytes`;
    }
    state.beside = beside;
    right.hidden = part(".mr-line").hidden = part("[name=divider]").hidden = false;
    this.paint(right, found, `Right of the divider: ${words}`);
    this.caption(left, words);
  }

  /** Another codec's picture at the size of what is shown; each is made once. */
  async rival(format) {
    const { rivals, shown, original } = this.state;
    const key = `${format} ${shown.level}`;
    if (!rivals.has(key)) {
      const what = { picture: original, format, bytes: shown.size };
      rivals.set(key, await this.codec.run("rival", what));
    }
    return rivals.get(key);
  }

  // --- drawing

  caption(left, right) {
    const [first, second] = this.root.querySelectorAll(".mr-words span");
    [first.textContent, second.textContent] = [`◀ ${left}`, right && `${right} ▶`];
    this.part("[name=divider]").setAttribute("aria-label", `Divider between ${left} and ${right}`);
    this.part(".mr-help").textContent = this.state.original
      ? "Drag the divider, or use the arrow keys."
      : "A .mrdc file does not contain the original, so there is nothing to compare it with.";
    this.say(this.state.words);
    this.tabulate();
  }

  tabulate() {
    const { shown, rivals } = this.state;
    const rows = [{ name: OURS, bytes: shown.size, ...shown }];
    for (const [key, found] of rivals) {
      const [name, level] = key.split(" ");
      if (Number(level) === shown.level) rows.push({ name, ...found });
    }
    const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
    const row = ({ name, bytes, psnr, ssim }) => {
      const bpp = number((8 * bytes) / (shown.width * shown.height), 3);
      const decibels = psnr === Infinity ? "exact" : number(psnr, 2);
      const cells = [thousands(bytes), bpp, decibels, number(ssim, 4)];
      const columns = cells.map((cell) => `<td>${cell}</td>`).join("");
      return `<tr><th scope="row">${name}</th>${columns}</tr>`;
    };
    this.part("tbody").innerHTML = rows.map(row).join("");
  }

  /** Draw the compressed picture, its map and its links. */
  draw() {
    const { shown, name, file } = this.state;
    this.paint(this.part("canvas"), shown, "Left of the divider: the compressed picture");
    this.showRouting();
    this.showSize();
    this.link("mrdc", new Blob([file.subarray(0, shown.size)]), `${name}.mrdc`);
    this.part("canvas").toBlob((blob) => this.link("png", blob, `${name}.png`));
  }

  paint(canvas, { width, height, data }, label) {
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
    canvas.setAttribute("aria-label", label);
  }

  error() {
    const { original, shown } = this.state;
    const data = shown.data.map((value, at) =>
      at % 4 === 3 ? 255 : GAIN * Math.abs(value - original.data[at]),
    );
    return { ...shown, data };
  }

  showRouting() {
    const [map, key] = [this.part(".mr-map"), this.part(".mr-key")];
    map.hidden = key.hidden = !this.part("[name=routing]").checked;
    const { width, height, routing, patches } = this.state.shown;
    Object.assign(map, { width, height });
    const context = map.getContext("2d");
    routing.forEach((level, patch) => {
      context.fillStyle = LEVELS[level - 1];
      context.fillRect(32 * (patch % patches[1]), 32 * Math.floor(patch / patches[1]), 32, 32);
    });
    const count = (level) => routing.filter((own) => own === level).length;
    key.textContent =
      `Patches with one level (blue): ${count(1)}, two (yellow): ${count(2)}, ` +
      `three (red): ${count(3)}.`;
  }

  /** As wide as the page, or pixel for pixel, to be scrolled. */
  showSize() {
    const { width } = this.state.shown;
    const wide = Math.max(width, SMALLEST);
    const full = this.part("[name=full]").checked;
    this.part("figure").style.width = `min(100%, ${wide}px)`;
    this.part(".mr-stage").style.width = full ? `${wide}px` : "";
    this.part(".mr-stage").style.maxWidth = full ? "none" : "";
    this.part(".mr-stage").classList.toggle("mr-pixels", width < SMALLEST);
  }

  link(name, blob, file) {
    const link = this.part(`a.mr-${name}`);
    if (link.href) URL.revokeObjectURL(link.href);
    Object.assign(link, { href: URL.createObjectURL(blob), download: file });
  }
}

const thousands = (number) => number.toLocaleString("en");

for (const root of document.querySelectorAll(".mr-try")) new Try(root);
