// Starts the built server on free ports over a new directory, and stops it again.
'use strict';
const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const binary = process.env.PHOTONDB;
if (!binary) throw new Error('PHOTONDB must name the photondb binary');

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function startServer(args = []) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'photondb-driver-'));
  const portFile = path.join(dir, 'ports.json');
  const child = spawn(binary, [
    'serve', '--data-dir', path.join(dir, 'data'), '--driver-port', '0', '--http-port', '0', '--cluster-port', '0',
    '--port-file', portFile, '--log-level', 'warn', '--quiet', ...args,
  ], { stdio: ['ignore', 'inherit', 'inherit'] });
  // A test that fails in its preparations must end, and take the server with it.
  child.unref();
  const kill = () => child.kill('SIGKILL');
  process.on('exit', kill);
  const exited = new Promise((done) => child.on('exit', (code, signal) => done({ code, signal })));
  let over = null;
  exited.then((how) => { over = how; });
  let ports = null;
  for (let waited = 0; !ports; waited += 20) {
    if (over) throw new Error(`the server did not start: ${JSON.stringify(over)}`);
    if (waited > 30000) { child.kill('SIGKILL'); throw new Error('the server is not ready after 30 s'); }
    await sleep(20);
    try { ports = JSON.parse(fs.readFileSync(portFile, 'utf8')); } catch { /* not yet written */ }
  }
  return {
    port: ports.driver_port, httpPort: ports.http_port, dir, pid: child.pid,
    get over() { return over; },
    async stop() {
      child.ref();
      if (!over) child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 20000);
      const how = await exited;
      clearTimeout(timer);
      process.off('exit', kill);
      fs.rmSync(dir, { recursive: true, force: true });
      if (how.code !== 0) throw new Error(`the server ended with ${JSON.stringify(how)}`);
    },
  };
}

// photondb import, export ...; fails the test if it fails.
function cli(args, options = {}) {
  const done = spawnSync(binary, args, { encoding: 'utf8', maxBuffer: 1 << 30, ...options });
  if (done.status !== 0) throw new Error(`photondb ${args.join(' ')}: exit ${done.status}\n${done.stderr}`);
  return done.stdout;
}

module.exports = { startServer, cli, sleep, binary };
