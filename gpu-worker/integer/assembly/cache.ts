import { arena, headDim, kvHeads, pages } from "./shape";

/*
 * The cache. A page holds PAGE tokens of every layer. For each layer and key/value head there are four regions over
 * all pages, so that neighbouring pages of one head are neighbours in memory:
 *
 *   keys    [pages][PAGE / 8][headDim / 2][8 tokens][2] int8
 *   values  [pages][headDim / 8][PAGE / 2][8][2 tokens] int8
 *   key scales, value scales  [pages][PAGE] float32
 *
 * as the products in attention.ts read them. A slot is page * PAGE + place within the page.
 */
export const PAGE: i32 = 16;

/** Bytes of one head's region: keys, values and both scales. */
@inline
function regionBytes(): usize {
  return <usize>pages * <usize>(2 * PAGE * headDim + 8 * PAGE);
}

@inline
function region(layer: i32, head: i32): usize {
  return arena + <usize>(layer * kvHeads + head) * regionBytes();
}

@inline
export function keysOf(layer: i32, head: i32): usize {
  return region(layer, head);
}

@inline
export function valuesOf(layer: i32, head: i32): usize {
  return region(layer, head) + <usize>pages * <usize>(PAGE * headDim);
}

@inline
export function keyScalesOf(layer: i32, head: i32): usize {
  return region(layer, head) + <usize>pages * <usize>(2 * PAGE * headDim);
}

@inline
export function valueScalesOf(layer: i32, head: i32): usize {
  return keyScalesOf(layer, head) + <usize>pages * <usize>(4 * PAGE);
}

/** Where the first pair of a slot's key lies; the next pairs follow 16 bytes apart. */
@inline
function keyAt(layer: i32, head: i32, slot: i32): usize {
  const page = slot / PAGE, place = slot % PAGE;
  const within = (place >> 3) * 8 * headDim + ((place & 7) << 1);
  return keysOf(layer, head) + <usize>page * <usize>(PAGE * headDim) + <usize>within;
}

/** Where the first value of a slot lies. */
@inline
function valueAt(layer: i32, head: i32, slot: i32): usize {
  const page = slot / PAGE, place = slot % PAGE;
  return valuesOf(layer, head) + <usize>page * <usize>(PAGE * headDim) + <usize>(((place >> 1) << 4) + (place & 1));
}

/** Stores `headDim` int16 values of at most 8 bits as the slot's key. */
export function putKey(layer: i32, head: i32, slot: i32, from: usize, scale: f32): void {
  let to = keyAt(layer, head, slot);
  for (let d = 0; d < headDim; d += 2, from += 4, to += 16) {
    store<i8>(to, load<i16>(from));
    store<i8>(to, load<i16>(from, 2), 1);
  }
  store<f32>(keyScalesOf(layer, head) + (<usize>slot << 2), scale);
}

export function putValue(layer: i32, head: i32, slot: i32, from: usize, scale: f32): void {
  let to = valueAt(layer, head, slot);
  for (let d = 0; d < headDim; d += 8, to += 16 * (PAGE / 2)) {
    for (let i: usize = 0; i < 8; i++, from += 2) store<i8>(to + (i << 1), load<i16>(from));
  }
  store<f32>(valueScalesOf(layer, head) + (<usize>slot << 2), scale);
}

/** Copies a slot's keys and values, all layers. */
export function moveSlot(layers: i32, from: i32, to: i32): void {
  for (let layer = 0; layer < layers; layer++) {
    for (let head = 0; head < kvHeads; head++) {
      let a = keyAt(layer, head, from), b = keyAt(layer, head, to);
      for (let d = 0; d < headDim; d += 2, a += 16, b += 16) store<i16>(b, load<i16>(a));
      a = valueAt(layer, head, from);
      b = valueAt(layer, head, to);
      for (let d = 0; d < headDim; d += 8, a += 16 * (PAGE / 2), b += 16 * (PAGE / 2)) {
        for (let i: usize = 0; i < 16; i += 2) store<i8>(b + i, load<i8>(a + i));
      }
      const keyScales = keyScalesOf(layer, head), valueScales = valueScalesOf(layer, head);
      store<f32>(keyScales + (<usize>to << 2), load<f32>(keyScales + (<usize>from << 2)));
      store<f32>(valueScales + (<usize>to << 2), load<f32>(valueScales + (<usize>from << 2)));
    }
  }
}
