// Telegram Desktop's bridge: one channel of strings each way. The app calls receive and
// receiveControl, and gets an acknowledgement of each call. The object is frozen, and
// what a page may use beside it is less than a browser has.
(() => {
  let receiver = null
  const send = globalThis.nativeSend
  const call = (sequence, data) => {
    try {
      receiver({ data })
      send('a' + sequence)
    } catch (error) {
      send('f')
    }
  }
  Object.defineProperty(globalThis, 'TelegramWebProxy', {
    value: Object.freeze({
      postMessage (value) {
        if (value instanceof ArrayBuffer) send('b' + base64(value))
        else send(typeof value === 'string' ? 'c' + value : 'f')
      },
      receive (sequence, text) { call(sequence, bytes(text)) },
      receiveControl (sequence, text) { call(sequence, text) },
      get onmessage () { return receiver },
      set onmessage (value) { receiver = typeof value === 'function' ? value : null }
    })
  })
  for (const name of ['RTCPeerConnection', 'WebTransport', 'WebAssembly']) remove(globalThis, name)
  policy("default-src 'none'; script-src 'unsafe-inline'; connect-src https://HOST wss://HOST")
})()
