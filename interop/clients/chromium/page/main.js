// Runs the case in the page's URL, and shows its steps. window.outcome is a promise
// of {error} or {note}.
import { hex } from './bytes.js'
import { overHTTP } from './http.js'
import { overWebSocket } from './websocket.js'

const query = new URLSearchParams(location.search)
const url = query.get('url')
const runCase = url.startsWith('ws') ? overWebSocket : overHTTP
const test = JSON.parse(query.get('case'))

const title = document.querySelector('h1')
const table = document.querySelector('table')
const start = performance.now()

// show adds a line to the page. Bytes are shown in hexadecimal, long ones
// shortened.
function show(what, ...values) {
  const row = table.insertRow()
  row.insertCell().textContent = `${Math.round(performance.now() - start)} ms`
  row.insertCell().textContent = what
  row.insertCell().textContent = values.map((v) => (v instanceof Uint8Array ? brief(v) : String(v))).join(' ')
}

const shown = 96
const brief = (b) => `${b.length} bytes: ${hex(b.subarray(0, shown))}${b.length > shown ? ' …' : ''}`

// timeout, in ms, bounds a case. It is less than the driver's, so that there is a
// screenshot of the steps until then.
const timeout = 15000
const timedOut = () => new Promise((_, reject) => setTimeout(reject, timeout, new Error('no answer')))

async function run() {
  title.textContent = `${test.name}:`
  show('browser', navigator.userAgent)
  show('data centre', url)
  try {
    const note = await Promise.race([runCase(url, test, show), timedOut()])
    title.className = 'passed'
    return { note }
  } catch (error) {
    show('failed', error)
    title.className = 'failed'
    return { error: String(error) }
  }
}

window.outcome = run()
