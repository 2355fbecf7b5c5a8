// threads.js TICKS, for Rhino on Java: a timer adds a square at each of TICKS
// ticks, while two threads count primes and put what they find into a queue that
// a third one empties. Prints "tick N" now and then, and "sum SUM primes COUNT"
// at the end.
var TimeUnit = java.util.concurrent.TimeUnit;
var Runnable = java.lang.Runnable;

function isPrime(number) {
  for (var divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false;
  }
  return number > 1;
}

function thread(run) {
  var made = new java.lang.Thread(new Runnable({ run: run }));
  made.start();
  return made;
}

var ticks = Number(arguments[0]);
var count = 0, sum = 0, primes = 0;
var ticked = new java.util.concurrent.CountDownLatch(1);
var clock = new java.util.concurrent.ScheduledThreadPoolExecutor(1);
clock.scheduleAtFixedRate(new Runnable({ run: function () {
  count++;
  sum += count * count;
  if (count % 10 === 0) print('tick ' + count);
  if (count === ticks) { clock.shutdown(); ticked.countDown(); }
} }), 40, 40, TimeUnit.MILLISECONDS);

var queue = new java.util.concurrent.LinkedBlockingQueue(4);
// The odd or the even hundreds.
function worker(part) {
  return thread(function () {
    for (var chunk = 0; chunk < ticks; chunk++) {
      var first = (2 * chunk + part) * 100, found = 0;
      for (var number = first; number < first + 100; number++) if (isPrime(number)) found++;
      queue.put(java.lang.Integer.valueOf(found));
      java.lang.Thread.sleep(30);
    }
  });
}
var workers = [worker(0), worker(1)];
var adder = thread(function () {
  for (var taken = 0; taken < 2 * ticks; taken++) primes += queue.take().intValue();
});
workers.concat(adder).forEach(function (each) { each.join(); });
ticked.await();
print('sum ' + sum + ' primes ' + primes);
