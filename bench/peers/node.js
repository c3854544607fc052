// Node's http server, one process. PORT is the first argument.
'use strict';
const server = require('http').createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': 6 });
    response.end('hello\n');
});
server.keepAliveTimeout = 75000;
server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 });
