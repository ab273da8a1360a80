// The framings that an init payload can name.
// https://core.telegram.org/mtproto/mtproto-transports
import { join, random, view } from './bytes.js'

const ackWanted = 0x80000000

function littleEndian(value, length) {
  const b = new Uint8Array(4)
  view(b).setUint32(0, value, true)
  return b.subarray(0, length)
}

// Intermediate: four bytes with the length in bytes precede the payload. Their top
// bit requests a quick acknowledgement.
const intermediate = {
  tag: 0xee,
  wrap: (payload, ack) => join(littleEndian(payload.length + (ack ? ackWanted : 0), 4), payload),
  read(b) {
    if (b.length < 4) return null
    const end = 4 + view(b).getUint32(0, true)
    return b.length < end ? null : { packet: b.slice(4, end), rest: b.subarray(end) }
  },
}

// Padded intermediate: intermediate with up to 15 bytes of padding, which the length
// includes.
const padded = {
  tag: 0xdd,
  wrap: (payload, ack) => intermediate.wrap(join(payload, random(random(1)[0] % 16)), ack),
  read: intermediate.read,
}

// Abridged: the length in words of four bytes, in one byte, or in three bytes after
// 7f.
const abridged = {
  tag: 0xef,
  wrap(payload, ack) {
    const words = payload.length / 4
    const head = words < 0x7f ? littleEndian(words, 1) : join([0x7f], littleEndian(words, 3))
    if (ack) head[0] |= 0x80
    return join(head, payload)
  },
  read(b) {
    const head = b[0] === 0x7f ? 4 : 1
    if (b.length < head) return null
    const words = head === 1 ? b[0] : view(b).getUint32(0, true) >>> 8
    const end = head + 4 * words
    return b.length < end ? null : { packet: b.slice(head, end), rest: b.subarray(end) }
  },
}

export const framings = { abridged, intermediate, 'padded intermediate': padded }
