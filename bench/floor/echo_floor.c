/* The floor under every figure of a plain TCP service: epoll_wait, recv, send of the same bytes.
 *
 *     echo_floor PORT        (0 takes a free one; the first line on stderr says which)
 *
 * A peer that does not read its echo is cut off: the load it is measured with reads each one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256 };

int main(int argc, char **argv) {
    static char input[65536];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    socklen_t size = sizeof at;
    int one = 1, poller = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, size) || listen(listener, 2048)) return perror("listen"), 1;
    getsockname(listener, (void *)&at, &size);
    event.data.fd = listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    fprintf(stderr, "Listening at: tcp://127.0.0.1:%d (pid %d)\n", ntohs(at.sin_port), getpid());

    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = fd;
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            ssize_t got = recv(fd, input, sizeof input, 0);
            if (got <= 0 || send(fd, input, got, MSG_NOSIGNAL) != got) close(fd);
        }
    }
}
