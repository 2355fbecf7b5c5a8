// timers.js TICKS: a timer adds a square at each of TICKS ticks, while two
// threads count primes, each by a timer of its own, and send what they find.
// Prints "tick N" now and then, and "sum SUM primes COUNT" at the end.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function isPrime(number) {
  for (let divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false;
  }
  return number > 1;
}

function main() {
  const ticks = Number(process.argv[2]);
  let count = 0, sum = 0, primes = 0, working = 2;
  const end = () => {
    if (count === ticks && working === 0) console.log(`sum ${sum} primes ${primes}`);
  };
  for (const part of [0, 1]) {
    const worker = new Worker(__filename, { workerData: { part, chunks: ticks } });
    worker.on('message', (found) => { primes += found; });
    worker.on('exit', () => { working--; end(); });
  }
  const timer = setInterval(() => {
    count++;
    sum += count * count;
    if (count % 10 === 0) console.log(`tick ${count}`);
    if (count === ticks) { clearInterval(timer); end(); }
  }, 40);
}

// The odd or the even hundreds.
function work({ part, chunks }) {
  let chunk = 0;
  const timer = setInterval(() => {
    const first = (2 * chunk + part) * 100;
    let found = 0;
    for (let number = first; number < first + 100; number++) found += isPrime(number);
    parentPort.postMessage(found);
    if (++chunk === chunks) clearInterval(timer);
  }, 30);
}

if (isMainThread) main(); else work(workerData);
