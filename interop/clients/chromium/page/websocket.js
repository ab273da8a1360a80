// Obfuscated packets over WebSocket.
// https://core.telegram.org/mtproto/transports#websocket
import { join, random } from './bytes.js'
import { framings } from './framing.js'
import { checkResPQ, requestPQ, transportError, underUnknownKey } from './message.js'
import { obfuscate } from './obfuscation.js'

// open waits until the socket is open.
async function open(url, show) {
  const socket = new WebSocket(url, 'binary')
  socket.binaryType = 'arraybuffer'
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = () => reject(new Error('the WebSocket does not open'))
  })
  if (socket.protocol !== 'binary') throw new Error(`sub-protocol "${socket.protocol}"`)
  show('WebSocket', `open, sub-protocol ${socket.protocol}, extensions "${socket.extensions}"`)
  return socket
}

// messages returns the socket's messages, until it is closed.
const messages = (socket) => new ReadableStream({
  start(controller) {
    socket.addEventListener('message', (event) => controller.enqueue(new Uint8Array(event.data)))
    socket.addEventListener('close', () => controller.close())
  },
})

// packets returns the packets in the messages, whose boundaries have no meaning.
async function* packets(socket, stream, framing) {
  let buffer = new Uint8Array()
  for await (const message of messages(socket)) {
    buffer = join(buffer, await stream.apply(message))
    for (let read; (read = framing.read(buffer)); buffer = read.rest) yield read.packet
  }
  throw new Error('the WebSocket was closed')
}

// split returns the messages that parts are sent in.
function split(mode, parts) {
  switch (mode) {
    case 'one': return [join(...parts)]
    case 'halves': return parts.flatMap((part) => [part.subarray(0, part.length >> 1), part.subarray(part.length >> 1)])
    case 'blobs': return parts.map((part) => new Blob([part]))
  }
  return parts
}

export async function overWebSocket(url, test, show) {
  const socket = await open(url, show)
  const closed = new Promise((resolve) => socket.addEventListener('close', resolve))
  const framing = framings[test.framing]
  const { init, send, receive } = await obfuscate(framing.tag, test.dc)
  const answers = packets(socket, receive, framing)
  const parts = [init]
  show(`init, ${test.framing}, DC ${test.dc}`, init)

  const nonces = Array.from({ length: test.requests ?? 1 }, () => random(16))
  for (const nonce of nonces) {
    const packet = framing.wrap(requestPQ(nonce, test.tail), test.ack)
    show('req_pq_multi', packet)
    parts.push(await send.apply(packet))
  }
  const sent = split(test.messages, parts)
  show('sent', sent.map((message) => message.size ?? message.length).join(' + '), 'bytes')
  sent.forEach((message) => socket.send(message))
  for (const nonce of nonces) {
    const { value } = await answers.next()
    checkResPQ(value, nonce)
    show('received', value)
    show('resPQ with the nonce', nonce)
  }

  if (test.unknown_key) {
    socket.send(await send.apply(framing.wrap(underUnknownKey())))
    const { value } = await answers.next()
    const code = transportError(value)
    show('under an unknown key', `transport error ${code}`)
    if (code !== 404) throw new Error(`transport error ${code}`)
    return `transport error ${code}, ${checkClose(await closed, 1000, '404', show)}`
  }
  socket.close()
  checkClose(await closed, 1005, '', show) // no status in either close frame
}

// checkClose checks how the WebSocket was closed.
function checkClose({ code, reason, wasClean }, wantCode, wantReason, show) {
  show('closed', `${code} "${reason}"`, wasClean ? 'clean' : 'not clean')
  if (code !== wantCode || reason.trim() !== wantReason || !wasClean) throw new Error(`closed with ${code} "${reason}"`)
  return `closed with ${code} and reason ${reason.trim()}`
}
