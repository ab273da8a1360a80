// The bridge of iOS, a sealed object, and the profile that the app puts around a page:
// no storage, no workers, no devices, no windows, and a policy of its own.
(() => {
  const send = globalThis.nativeSend
  const bridge = { onmessage: null }
  Object.defineProperty(bridge, 'postMessage', {
    enumerable: true,
    value (value) {
      if (typeof value === 'string') send('c' + value)
      else if (value instanceof ArrayBuffer) send('b' + base64(value))
      else send('f')
    }
  })
  Object.defineProperty(globalThis, 'TelegramWebProxy', { value: Object.seal(bridge) })
  globalThis.nativeReceive = (text) => bridge.onmessage({ data: bytes(text) })
  globalThis.nativeControl = (text) => bridge.onmessage({ data: text })
  for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches', 'Worker', 'SharedWorker', 'BroadcastChannel',
    'Audio', 'AudioContext', 'OfflineAudioContext', 'RTCPeerConnection', 'open', 'print', 'alert', 'confirm', 'prompt']) remove(globalThis, name)
  for (const name of ['serviceWorker', 'clipboard', 'mediaDevices', 'geolocation', 'bluetooth', 'usb', 'hid', 'serial', 'credentials']) remove(navigator, name)
  Object.defineProperty(document, 'cookie', { get: () => '', set: () => {} })
  policy("default-src 'none'; base-uri 'none'; child-src 'none'; connect-src https://HOST wss://HOST; font-src 'none'; form-action 'none'; " +
    "frame-src 'none'; img-src 'none'; manifest-src 'none'; media-src 'none'; object-src 'none'; script-src 'unsafe-inline'; style-src 'none'; worker-src 'none'")
})()
