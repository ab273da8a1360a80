// Unencrypted messages, as far as the first step of a key exchange needs them,
// and an encrypted one that nobody can read.
// https://core.telegram.org/mtproto/description#unencrypted-message
import { equal, hex, join, random, view } from './bytes.js'

const reqPQMulti = 0xbe7e8ef1
const resPQ = 0x05162463
const header = 20 // auth key id, message id, length

let last = 0n

// messageID is the time in seconds and its fraction, and grows.
function messageID() {
  const now = (BigInt(Date.now()) << 32n) / 1000n & ~3n
  last = now > last ? now : last + 4n
  return last
}

// requestPQ is a req_pq_multi with that nonce, and random bytes behind it,
// inside the message's length.
export function requestPQ(nonce, tail = 0) {
  const head = new Uint8Array(header + 4)
  view(head).setBigUint64(8, messageID(), true)
  view(head).setUint32(16, 4 + nonce.length + tail, true)
  view(head).setUint32(header, reqPQMulti, true)
  return join(head, nonce, random(tail))
}

// checkResPQ throws unless packet is the answer to a request with that nonce.
export function checkResPQ(packet, nonce) {
  if (packet.length < header + 4 + nonce.length || view(packet).getUint32(header, true) !== resPQ) {
    throw new Error(`no resPQ: ${hex(packet)}`)
  }
  const answered = packet.subarray(header + 4, header + 4 + nonce.length)
  if (!equal(answered, nonce)) throw new Error(`resPQ with the nonce ${hex(answered)}`)
}

// underUnknownKey looks like an encrypted message.
export const underUnknownKey = () => join([1], random(24 + 48 - 1))

// transportError is the code that a packet of four bytes carries.
export function transportError(packet) {
  if (packet.length !== 4) throw new Error(`no transport error: ${hex(packet)}`)
  return -view(packet).getInt32(0, true)
}
