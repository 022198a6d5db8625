// Colours, and the pixels of pictures and maps.
const className = (id) => data.classes[id] ?? `class ${id}`;

// ---- colours -------------------------------------------------------------------------------------------
const MAGMA = ["000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf"];
const rgb = (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
function classColour(id) {
  if (/^(background|bg|null|void|unlabell?ed|__background__)$/i.test(className(id))) return [128, 134, 140];
  if (id < PALETTE.length) return rgb(PALETTE[id]);
  const hue = (id * 137.508) % 360, light = 0.42 + 0.08 * (id % 4);
  return [0, 8, 4].map((n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - 0.6 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
}
const colours = []; // filled as classes are met
const css = (colour) => `rgb(${colour.join(" ")})`;
const magma = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (MAGMA.length - 1), left = Math.min(Math.floor(place), MAGMA.length - 2);
  const [a, b] = [rgb(MAGMA[left]), rgb(MAGMA[left + 1])];
  return a.map((value, i) => Math.round(value + (b[i] - value) * (place - left)));
});
function swatch(id) {
  const element = make("span", { className: "swatch" });
  element.style.background = css(classColour(id));
  return element;
}

// ---- pictures ------------------------------------------------------------------------------------------
// Planes are read from the PNG bytes and not back from a canvas: browsers that guard against fingerprinting
// change canvas pixels slightly, and a changed label is another class.
async function decodeGreyPng(bytes) {
  const view = new DataView(bytes.buffer);
  const parts = [];
  let width = 0, height = 0;
  for (let at = 8; at < bytes.length;) {
    const length = view.getUint32(at), kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (width + 1)], from = y * (width + 1) + 1, to = y * width;
    for (let x = 0; x < width; x++) {
      const left = x ? out[to + x - 1] : 0, up = y ? out[to + x - width] : 0, corner = x && y ? out[to + x - width - 1] : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) {
        const p = left + up - corner, a = Math.abs(p - left), b = Math.abs(p - up), c = Math.abs(p - corner);
        guess = a <= b && a <= c ? left : b <= c ? up : corner;
      }
      out[to + x] = raw[from + x] + guess;
    }
  }
  return out;
}
const decoded = new Map();
const block = (index) => JSON.parse(byId(`picture-${index}`).textContent);
function planes(index) {
  if (!decoded.has(index)) {
    const bytes = Uint8Array.from(atob(block(index).png), (c) => c.charCodeAt(0));
    decoded.set(index, decodeGreyPng(bytes).then((stack) => {
      const { map_width: w, map_height: h, planes: names } = data.pictures[index];
      return Object.fromEntries(names.map((name, i) => [name, stack.subarray(i * w * h, (i + 1) * w * h)]));
    }));
  }
  return decoded.get(index);
}
// measure: of data.measures; least: first 8-bit heat level shown; mode: "labels" or "heat".
function paint(canvas, picture, maps, mode, measure, least) {
  const { map_width: w, map_height: h } = picture, heat = measure && maps[measure.name];
  const image = new ImageData(w, h), pixels = image.data, full = measure ? measure.limit * 255 : 255;
  for (let i = 0; i < w * h; i++) {
    if (heat && heat[i] < least) continue;
    let colour;
    if (mode === "labels") {
      const id = maps.labels[i] + (maps.labels_high ? 256 * maps.labels_high[i] : 0);
      colour = colours[id] ??= classColour(id);
    } else colour = magma[Math.min(255, Math.round((heat[i] / full) * 255))];
    pixels[4 * i] = colour[0]; pixels[4 * i + 1] = colour[1]; pixels[4 * i + 2] = colour[2]; pixels[4 * i + 3] = 255;
  }
  [canvas.width, canvas.height] = [w, h];
  canvas.getContext("2d").putImageData(image, 0, 0);
}
