// Android's bridge: the object of a web message listener. On a web view that cannot
// pass an ArrayBuffer, the app replaces both functions when it has got the page's
// nonce, and passes strings.
(() => {
  const send = globalThis.nativeSend
  const bridge = {
    onmessage: null,
    postMessage (value) {
      if (value instanceof ArrayBuffer) send('b' + base64(value))
      else send(String(value).startsWith('base64:') ? 'b' + value.slice(7) : 'c' + value)
    }
  }
  globalThis.TelegramWebProxy = bridge
  globalThis.nativeReceive = (text) => bridge.onmessage({ data: bytes(text) })
  globalThis.nativeControl = (text) => bridge.onmessage({ data: text })
  globalThis.nativeUseStrings = () => {
    const post = bridge.postMessage, receive = bridge.onmessage
    bridge.postMessage = (value) => {
      if (value instanceof ArrayBuffer && value.byteLength > 8 + (1 << 20)) throw new Error('a message of several frames')
      post.call(bridge, value instanceof ArrayBuffer ? 'base64:' + base64(value) : value)
    }
    bridge.onmessage = (event) => receive.call(bridge, event.data.startsWith('base64:') ? { data: bytes(event.data.slice(7)) } : event)
    globalThis.nativeReceive = (text) => bridge.onmessage({ data: 'base64:' + text })
  }
  for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) remove(globalThis, name)
})()
