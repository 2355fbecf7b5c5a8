/* Pseudoterminals of one member, with both ends, and what waits in them. */
#include <termios.h>

/* The other way the pattern goes on from here. */
#define BACK 1000000

static int has_settings(const struct thing *thing)
{
	struct termios termios;
	struct winsize size = { 0 };

	if (tcgetattr(thing->fd[1], &termios) != 0 || ioctl(thing->fd[1], TIOCGWINSZ, &size) != 0)
		return 0;
	/* Drawn once more, as when it was made. */
	return termios.c_lflag == 0 && termios.c_oflag == 0 &&
	       termios.c_cc[VMIN] == pattern(thing->pattern, 1) && cfgetospeed(&termios) == B9600 &&
	       size.ws_row == pattern(thing->pattern, 2) && size.ws_col == pattern(thing->pattern, 3);
}

/* `size` bytes wait at the other end, `at` at the master. */
static void check_terminal(struct thing *thing)
{
	int index = -1;

	check_flags(thing);
	if (ioctl(thing->fd[0], TIOCGPTN, &index) != 0 || index != thing->number)
		lost("terminal: its number is %d instead of %d", index, thing->number);
	if (!has_settings(thing))
		lost("terminal: its settings");
	if (!COMES_TRUE(waiting(thing->fd[1]) == thing->size && waiting(thing->fd[0]) == thing->at, usleep(1000)))
		lost("terminal: %d and %d bytes in it instead of %ld and %ld", waiting(thing->fd[1]),
		     waiting(thing->fd[0]), thing->size, thing->at);
	else if (!get(thing->fd[1], thing->pattern, 0, thing->size) ||
		 !get(thing->fd[0], thing->pattern, BACK, thing->at))
		lost("terminal: what is in it");
	else if (put(thing->fd[0], thing->pattern, 0, thing->size) != thing->size ||
		 put(thing->fd[1], thing->pattern, BACK, thing->at) != thing->at)
		lost("terminal: it takes less than before");
}

static void make_terminal(void)
{
	struct thing *thing = add("terminal", check_terminal);
	struct termios termios;
	struct winsize size = { 0 };
	char name[32];

	thing->fd[0] = (int)must(open("/dev/ptmx", O_RDWR | O_NOCTTY | (chance(50) ? O_CLOEXEC : 0)), "/dev/ptmx");
	must(ioctl(thing->fd[0], TIOCGPTN, &thing->number), "TIOCGPTN");
	must(ioctl(thing->fd[0], TIOCSPTLCK, &(int){ 0 }), "TIOCSPTLCK");
	snprintf(name, sizeof(name), "/dev/pts/%d", thing->number);
	thing->fd[1] = (int)must(open(name, O_RDWR | O_NOCTTY | (chance(50) ? O_NONBLOCK : 0)), name);
	must(tcgetattr(thing->fd[1], &termios), "tcgetattr");
	cfmakeraw(&termios);
	termios.c_lflag = 0;
	termios.c_oflag = 0;
	termios.c_cc[VMIN] = pattern(thing->pattern, 1);
	must(cfsetspeed(&termios, B9600), "cfsetspeed");
	must(tcsetattr(thing->fd[1], TCSANOW, &termios), "tcsetattr");
	size.ws_row = pattern(thing->pattern, 2);
	size.ws_col = pattern(thing->pattern, 3);
	must(ioctl(thing->fd[1], TIOCSWINSZ, &size), "TIOCSWINSZ");
	thing->size = put(thing->fd[0], thing->pattern, 0, draw(4000));
	thing->at = put(thing->fd[1], thing->pattern, BACK, draw(4000));
	keep_flags(thing);
}
