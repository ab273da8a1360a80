// Unencrypted messages of the first step of a key exchange, and an encrypted
// message under a random key.
// https://core.telegram.org/mtproto/description#unencrypted-message
import { equal, hex, join, random, view } from './bytes.js'

const reqPQMulti = 0xbe7e8ef1
const resPQ = 0x05162463
const header = 20 // auth key id, message id, length

let last = 0n

// messageID returns the time in units of 2^-32 seconds, a multiple of four that is
// larger than the last one.
function messageID() {
  const now = (BigInt(Date.now()) << 32n) / 1000n & ~3n
  last = now > last ? now : last + 4n
  return last
}

// requestPQ returns a req_pq_multi message with that nonce, followed by tail random
// bytes, which the message's length includes.
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

// underUnknownKey returns random bytes with the form of an encrypted message.
export const underUnknownKey = () => join([1], random(24 + 48 - 1))

// transportError returns the code in a packet of four bytes.
export function transportError(packet) {
  if (packet.length !== 4) throw new Error(`no transport error: ${hex(packet)}`)
  return -view(packet).getInt32(0, true)
}
