// Transport obfuscation with the browser's own AES.
// https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
import { hex, random, view } from './bytes.js'

const block = 16

// KeyStream is an AES-CTR key stream. WebCrypto's calls keep no state: each gets the
// counter of the stream's current block, and padding in place of the bytes of that
// block that are used up.
class KeyStream {
  constructor(key, counter) {
    this.key = crypto.subtle.importKey('raw', key, 'AES-CTR', false, ['encrypt'])
    this.first = BigInt(`0x${hex(counter)}`)
    this.offset = 0
  }

  // apply encrypts or decrypts the stream's next bytes.
  async apply(bytes) {
    const used = this.offset % block
    const counter = this.counter(BigInt((this.offset - used) / block))
    this.offset += bytes.length
    const padded = new Uint8Array(used + bytes.length)
    padded.set(bytes, used)
    const out = await crypto.subtle.encrypt({ name: 'AES-CTR', counter, length: 8 * block }, await this.key, padded)
    return new Uint8Array(out, used)
  }

  counter(blocks) {
    const value = BigInt.asUintN(8 * block, this.first + blocks)
    const digits = value.toString(16).padStart(2 * block, '0')
    return Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16))
  }
}

// First bytes that a server detects as something else: HTTP, unobfuscated framings,
// TLS.
const methods = ['HEAD', 'POST', 'GET ', 'OPTI', 'PVrG']
const words = ['eeeeeeee', 'dddddddd', '16030102', '16030103', '16030303']

function forbidden(init) {
  const first = init.subarray(0, 4)
  return init[0] === 0xef || words.includes(hex(first)) || methods.includes(String.fromCharCode(...first)) ||
    view(init).getUint32(4) === 0
}

// obfuscate returns a random init payload for a framing and a DC id, as it is sent,
// and the key streams of both directions.
export async function obfuscate(tag, dc) {
  let init
  do init = random(64)
  while (forbidden(init))
  init.fill(tag, 56, 60)
  view(init).setInt16(60, dc, true)
  const reversed = init.toReversed()
  const send = new KeyStream(init.slice(8, 40), init.slice(40, 56))
  const receive = new KeyStream(reversed.slice(8, 40), reversed.slice(40, 56))
  init.set((await send.apply(init)).subarray(56), 56)
  return { init, send, receive }
}
