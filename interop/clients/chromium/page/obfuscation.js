// Transport obfuscation with the browser's own AES.
// https://core.telegram.org/mtproto/mtproto-transports#transport-obfuscation
import { hex, random, view } from './bytes.js'

const block = 16

// KeyStream is AES-CTR without an end. WebCrypto begins anew with each call:
// it is given the counter of the block that the stream stands in, and bytes in
// front to fill what of that block is used up.
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
    const filled = new Uint8Array(used + bytes.length)
    filled.set(bytes, used)
    const out = await crypto.subtle.encrypt({ name: 'AES-CTR', counter, length: 8 * block }, await this.key, filled)
    return new Uint8Array(out, used)
  }

  counter(blocks) {
    const value = BigInt.asUintN(8 * block, this.first + blocks)
    const digits = value.toString(16).padStart(2 * block, '0')
    return Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16))
  }
}

// Beginnings that stand for something else: HTTP, plain framings, TLS.
const methods = ['HEAD', 'POST', 'GET ', 'OPTI', 'PVrG']
const words = ['eeeeeeee', 'dddddddd', '16030102', '16030103', '16030303']

function forbidden(init) {
  const first = init.subarray(0, 4)
  return init[0] === 0xef || words.includes(hex(first)) || methods.includes(String.fromCharCode(...first)) ||
    view(init).getUint32(4) === 0
}

// obfuscate draws an init payload that names the framing and the data centre,
// and returns it as it is sent, with the key streams of both directions.
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
