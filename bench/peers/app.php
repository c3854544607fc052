<?php
// SPDX-License-Identifier: MIT
// The demo's /hello, /sleep and /stick, for PHP-FPM.
$wanted = $_GET['ms'] ?? 'forever';
$ms = $wanted === 'forever' ? 1e9 : (float)$wanted;
if ($_SERVER['SCRIPT_NAME'] !== '/hello') usleep((int)($ms * 1000));
header('Content-Type: text/plain; charset=utf-8');
header('Content-Length: 6');
echo "hello\n";
