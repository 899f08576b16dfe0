/* What all floors share: listen, say where, accept, wait. A floor gives `fresh` and `ready`, which the compiler puts in
 * line: the loop is epoll_wait, and what `ready` does. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FDS = 65536 };

static int poller;

static void fresh(int fd); /* a peer has come */
static int ready(int fd);  /* it can be read, or written where watch() says so; 0 ends it */

static inline void watch(int fd, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poller, operation, fd, &event);
}

static void let_in(int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    if (fd >= FDS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fresh(fd);
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
}

/* Serves on 127.0.0.1:PORT until it is killed; 0 takes a free one. The first line on stderr says which. */
static int serve(const char *port, const char *scheme) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS];
    socklen_t size = sizeof at;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    at.sin_port = htons(port ? atoi(port) : 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, size) || listen(listener, 2048)) return perror("listen"), 1;
    getsockname(listener, (void *)&at, &size);
    poller = epoll_create1(0);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    fprintf(stderr, "Listening at: %s://127.0.0.1:%d (pid %d)\n", scheme, ntohs(at.sin_port), getpid());

    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                let_in(fd);
            else if (!ready(fd))
                close(fd);
        }
    }
}
