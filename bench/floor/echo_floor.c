/* The floor under every figure of a plain TCP service: epoll_wait, recv, send of the same bytes.
 *
 *     echo_floor PORT        (0 takes a free one; the first line on stderr says which)
 *
 * A peer that does not read its echo is cut off: the load it is measured with reads each one. */
#include "floor.h"

static void fresh(int fd) { (void)fd; }

static int ready(int fd) {
    static char input[65536];
    ssize_t got = recv(fd, input, sizeof input, 0);
    return got > 0 && send(fd, input, got, MSG_NOSIGNAL) == got;
}

int main(int argc, char **argv) { return serve(argc > 1 ? argv[1] : NULL, "tcp"); }
