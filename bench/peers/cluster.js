// SPDX-License-Identifier: MIT
// The demo's /hello, /sleep and /stick on Node's http and cluster: two workers, a new one for each that exits, as Node's
// documents show it. PORT is the first argument.
'use strict';
const cluster = require('cluster');
if (cluster.isPrimary) {
    cluster.on('exit', () => cluster.fork());
    cluster.fork();
    cluster.fork();
} else {
    const server = require('http').createServer((request, response) => {
        const url = new URL(request.url, 'http://bench');
        const wanted = url.searchParams.get('ms') || 'forever';
        const ms = wanted === 'forever' ? 1e9 : Number(wanted);
        const answer = () => {
            response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': 6 });
            response.end('hello\n');
        };
        if (url.pathname === '/sleep') {
            setTimeout(answer, ms);
        } else {
            if (url.pathname === '/stick') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
            answer();
        }
    });
    server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 });
}
