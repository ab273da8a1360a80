// A headless Chromium, controlled by the DevTools protocol over pipes: JSON
// messages, each followed by a zero byte, to descriptor 3 and from descriptor 4.
'use strict'
const { spawn } = require('node:child_process')
const { createHash, X509Certificate } = require('node:crypto')
const { openSync, readFileSync } = require('node:fs')
const { join } = require('node:path')

const flags = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-debugging-pipe',
  '--no-first-run', '--disable-quic', '--disable-sync', '--disable-background-networking', '--disable-component-update',
  '--disable-crash-reporter', '--disable-breakpad', '--window-size=1000,1100',
]

// trust returns the flag with which Chromium ignores errors of certificates that
// have the same key as this one.
function trust(pem) {
  const key = new X509Certificate(pem).publicKey.export({ type: 'spki', format: 'der' })
  return `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`
}

// exitTimeout, in ms, is how long Chromium may take to exit by itself.
const exitTimeout = 3000

class Browser {
  // directory is for the profile and the log. certificate, in PEM, is trusted,
  // unless it is false.
  constructor(directory, certificate) {
    this.log = join(directory, 'chromium.log')
    const log = openSync(this.log, 'w')
    const ownFlags = [`--user-data-dir=${join(directory, 'profile')}`, ...(certificate ? [trust(certificate)] : [])]
    this.process = spawn('chromium', [...flags, ...ownFlags, 'about:blank'], { stdio: ['ignore', log, log, 'pipe', 'pipe'] })
    this.ended = new Promise((resolve) => this.process.on('close', resolve).on('error', resolve))
    this.waiting = new Map() // from a command's number or an event's name to the promise's functions
    this.number = 0
    this.ended.then(() => {
      for (const { reject } of this.waiting.values()) reject(new Error('Chromium has ended'))
    })
    this.process.stdio[3].on('error', () => {}) // Chromium has ended: see above
    this.read(this.process.stdio[4].setEncoding('utf8'))
  }

  async read(pipe) {
    let text = ''
    for await (const chunk of pipe) {
      const messages = (text + chunk).split('\0')
      text = messages.pop()
      messages.map(JSON.parse).forEach((message) => this.handle(message))
    }
  }

  // handle settles the promise that waits for a message.
  handle({ id, method, result, params, error }) {
    const promise = this.waiting.get(id ?? method)
    this.waiting.delete(id ?? method)
    if (error) promise?.reject(new Error(error.message))
    else promise?.resolve(result ?? params)
  }

  // wait waits for the result of a command, or for an event.
  wait(key) {
    return new Promise((resolve, reject) => this.waiting.set(key, { resolve, reject }))
  }

  send(method, params = {}, sessionId) {
    const id = ++this.number
    this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    return this.wait(id)
  }

  // open opens a page and waits until its scripts have run.
  async open(url) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true })
    const send = (method, params) => this.send(method, params, sessionId)
    await send('Page.enable')
    const loaded = this.wait('Page.loadEventFired')
    await send('Page.navigate', { url })
    await loaded
    return {
      // evaluate returns the value of an expression, after its promise.
      async evaluate(expression) {
        const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
        return result.value
      },
      async screenshot() {
        return Buffer.from((await send('Page.captureScreenshot')).data, 'base64')
      },
    }
  }

  // output returns Chromium's output.
  output() {
    return readFileSync(this.log, 'utf8')
  }

  // close ends all processes of the browser.
  async close() {
    const kill = setTimeout(() => this.process.kill('SIGKILL'), exitTimeout)
    this.send('Browser.close').catch(() => {})
    await this.ended
    clearTimeout(kill)
  }
}

module.exports = { Browser }
