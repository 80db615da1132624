/**
 * A picture's way into the network, the same as Python's `resize_and_crop` down to the
 * last value. A canvas would resize faster, but each browser's does it otherwise.
 */

// Python counts in float32. Sizes with a common factor make many values that lie halfway
// between two whole ones, and in 64 bits those would be rounded otherwise.
const f = Math.fround;

const FILTERS = {
  bilinear: { radius: 1, weight: (x) => Math.max(0, f(1 - x)) },
  bicubic: {
    radius: 2,
    weight: (x) => {
      if (x < 1) return f(f(f(f(f(1.5 * x) - 2.5) * x) * x) + 1);
      return x < 2 ? f(f(f(f(f(f(-0.5 * x) + 2.5) * x) - 4) * x) + 2) : 0;
    },
  },
};

/**
 * Reads a picture as it is meant to be seen: the EXIF orientation is honoured. Colour
 * profiles are not, since Python does not. What is transparent becomes white.
 *
 * @param {Blob} blob
 * @returns {Promise<ImageBitmap>}
 * @throws {Error}  Where the browser cannot read it; the message is for people.
 */
export async function readPicture(blob) {
  try {
    return await createImageBitmap(blob, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
    });
  } catch {
    const name = blob.name ? `“${blob.name}”` : "That";
    throw new Error(
      `${name} is not a picture that this browser can read. Try a JPEG, PNG, WebP or GIF.`,
    );
  }
}

/**
 * Makes what the network takes of a picture.
 *
 * @param {CanvasImageSource} source  A bitmap or a video.
 * @param {number} width   Its width in pixels.
 * @param {number} height  Its height in pixels.
 * @param {{size: number, channels: number, crop_fraction: number,
 *   interpolation: string}} description  Of model.json.
 * @returns {Float32Array}  size x size x channels whole values, 0 to 255.
 */
export function prepare(source, width, height, description) {
  const { size, channels, crop_fraction, interpolation } = description;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);

  const short = Math.floor(size / crop_fraction + 1e-6);
  const least = Math.min(width, height);
  const wide = Math.floor((short * width) / least);
  const high = Math.floor((short * height) / least);
  const left = round((wide - size) / 2);
  const top = round((high - size) / 2);
  const filter = FILTERS[interpolation];
  const columns = taps(width, wide, left, size, filter);
  const rows = taps(height, high, top, size, filter);

  const result = new Float32Array(size * size * channels);
  planes(data, channels).forEach((plane, channel) => {
    const narrow = resample(plane, columns, height);
    const small = resample(narrow, rows, size);
    small.forEach((value, i) => (result[i * channels + channel] = value));
  });
  return result;
}

/** Splits RGBA into red, green and blue, or makes the grey of them that Pillow makes. */
function planes(data, channels) {
  const count = data.length / 4;
  const result = Array.from({ length: channels }, () => new Float32Array(count));
  for (let i = 0; i < count; i++) {
    const [red, green, blue] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) {
      result[0][i] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
    } else {
      result[0][i] = red;
      result[1][i] = green;
      result[2][i] = blue;
    }
  }
  return result;
}

/**
 * The weights of the source's pixels for `count` pixels from `first` on, where a line of
 * `from` pixels becomes one of `to`. Shrinking widens the filter: antialiasing.
 */
function taps(from, to, first, count, { radius, weight }) {
  const zoom = f(to / from);
  const scale = f(1 / zoom);
  const width = Math.max(scale, 1);
  const inverse = f(1 / width);
  const reach = f(radius * width);
  // Python leaves out what is far from these pixels, and counts from there on.
  const far = f(f(3 * width) + 1);
  const begin = Math.max(0, Math.floor(f(f(first / zoom) - far)));
  const length = Math.min(from, Math.ceil(f(f((first + count) / zoom) + far))) - begin;
  const shift = f(f(begin * zoom) - first);
  return Array.from({ length: count }, (_, i) => {
    const centre = f(f((i + 0.5) * scale) + f(-scale * shift));
    const start = Math.max(0, Math.ceil(f(f(centre - reach) - 0.5)));
    const end = Math.min(length, Math.floor(f(f(centre + reach) - 0.5)) + 1);
    const weights = Float32Array.from({ length: end - start }, (_, j) =>
      weight(Math.abs(f(f(start + j + 0.5 - centre) * inverse))),
    );
    const inverseSum = f(1 / weights.reduce((sum, w) => f(sum + w), 0));
    return { start: begin + start, weights: weights.map((w) => w * inverseSum) };
  });
}

/**
 * Applies taps along each line of a plane of `lines` lines. The whole values that result
 * lie transposed, taps x lines, so that a second pass goes the other way and turns back.
 */
function resample(plane, along, lines) {
  const length = plane.length / lines;
  const result = new Float32Array(along.length * lines);
  for (let i = 0; i < lines; i++) {
    along.forEach(({ start, weights }, k) => {
      const first = i * length + start;
      let sum = 0;
      for (let j = 0; j < weights.length; j++) {
        sum = f(sum + f(weights[j] * plane[first + j]));
      }
      result[k * lines + i] = Math.min(255, Math.max(0, Math.floor(f(sum + 0.5))));
    });
  }
  return result;
}

/** Rounds halves to the even number, as Python does. */
function round(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}
