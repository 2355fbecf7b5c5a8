#!/usr/bin/perl
# timers.pl COUNT: three timers drive it. One of setitimer() adds a square at
# each of COUNT ticks, one of timer_create() counts, one on CPU time counts while
# it works. Prints "tick N" now and then, and the sum at the end.
use strict;
use warnings;

# System calls of x86-64, clocks, and what a timer may send.
use constant { SETITIMER => 38, TIMER_CREATE => 222, TIMER_SETTIME => 223 };
use constant { ITIMER_REAL => 0, ITIMER_VIRTUAL => 1, CLOCK_MONOTONIC => 1, SIGEV_SIGNAL => 0, SIGUSR2 => 12 };

my $ticks = shift // 300;
my ($count, $sum, $other, $worked) = (0, 0, 0, 0);
$| = 1;

$SIG{ALRM} = sub {
    return if $count == $ticks;
    $count++;
    $sum += $count * $count;
    print "tick $count\n" if $count % 10 == 0;
};
$SIG{USR2} = sub { $other++ };
$SIG{VTALRM} = sub { $worked++ };

my $often = pack('q4', 0, 40_000, 0, 40_000);
syscall(SETITIMER, ITIMER_REAL, $often, 0) == 0 or die "setitimer: $!";
syscall(SETITIMER, ITIMER_VIRTUAL, $often, 0) == 0 or die "setitimer: $!";
my $event = pack('q l l x48', 0, SIGUSR2, SIGEV_SIGNAL);
my $timer = pack('l', -1);
syscall(TIMER_CREATE, CLOCK_MONOTONIC, $event, $timer) == 0 or die "timer_create: $!";
my $setting = pack('q4', 0, 70_000_000, 0, 70_000_000);
syscall(TIMER_SETTIME, unpack('l', $timer), 0, $setting, 0) == 0 or die "timer_settime: $!";

# A sleep that each tick ends early, and some work.
while ($count < $ticks) {
    select(undef, undef, undef, 5);
    my $number = $count;
    $number = ($number * 48271) % 2147483647 for 1 .. 2000;
}
my ($others, $works) = ($other, $worked);
while ($other < $others + 3 || $worked < $works + 3) {
    my $number = 1;
    $number = ($number * 48271) % 2147483647 for 1 .. 2000;
}
print "sum $sum\n";
