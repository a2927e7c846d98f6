#include "os/terminal.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/wipe.h"
#include "os/file.h"

enum { INTERRUPT = 3, LINE_MAX_OCTETS = 4096 }; // ^C; a terminal's longest line

bool os_is_terminal(int fd)
{
    return isatty(fd) == 1;
}

// The terminal goes on editing the line (erase, kill, UTF-8), but shows nothing and sends no
// signals, so that it can never be left in this state; ^C ends the line instead.
static struct termios quiet(const struct termios *usual)
{
    struct termios t = *usual;
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL | ISIG);
    t.c_lflag |= ICANON;
    t.c_cc[VEOL] = INTERRUPT;
    return t;
}

size_t os_terminal_width(int fd)
{
    struct winsize size;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static int read_line(struct buf *secret)
{
    char line[LINE_MAX_OCTETS];
    ssize_t n = os_read(STDIN_FILENO, line, sizeof(line));
    int result = 0;
    if (n < 0)
        result = (int)n;
    else if (n == 0)
        result = -ENODATA;
    else if (line[n - 1] == INTERRUPT)
        result = -EINTR;
    else
        buf_put(secret, str_from(line, (size_t)(line[n - 1] == '\n' ? n - 1 : n)));
    wipe(line, sizeof(line));
    return result == 0 && !buf_ok(secret) ? -EMSGSIZE : result;
}

int os_ask_secret(struct str question, struct buf *secret)
{
    struct termios usual;
    if (tcgetattr(STDIN_FILENO, &usual) < 0)
        return -errno;
    struct termios silent = quiet(&usual);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &silent) < 0)
        return -errno;
    // Only now: who answers a question at once must not be shown.
    int result = os_write_all(STDERR_FILENO, question);
    if (result >= 0)
        result = read_line(secret);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &usual) < 0 && result >= 0)
        result = -errno;
    int ended = os_write_all(STDERR_FILENO, STR("\n"));
    return result < 0 ? result : ended;
}
