/* The floor under every HTTP figure: epoll_wait, recv, send of one fixed answer, and nothing else.
 *
 *     http_floor PORT        (0 takes a free one; the first line on stderr says which)
 *
 * No request is understood: each CRLF CRLF that arrives earns one answer, so keep-alive and pipelining
 * work, a body does not, and a head that is split just before its last bytes counts all the same. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER                                                                  \
    "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n" \
    "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, World!"
enum { LENGTH = sizeof(ANSWER) - 1, DEPTH = 1024, EVENTS = 256, FDS = 65536 };

static char answers[DEPTH * LENGTH], input[65536];
static unsigned char matched[FDS]; /* how much of CRLF CRLF each connection has sent last */

static int heads(int fd, ssize_t count) {
    int found = 0;
    unsigned char m = matched[fd];
    if (m == 0 && count >= 4 && memmem(input, count, "\r\n\r\n", 4) == input + count - 4) return 1;
    for (ssize_t i = 0; i < count; i++) {
        m = input[i] == "\r\n\r\n"[m] ? m + 1 : input[i] == '\r';
        if (m == 4) m = 0, found++;
    }
    matched[fd] = m;
    return found < DEPTH ? found : DEPTH;
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    socklen_t size = sizeof at;
    int one = 1, poller = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, size) || listen(listener, 2048)) return perror("listen"), 1;
    getsockname(listener, (void *)&at, &size);
    for (int i = 0; i < DEPTH; i++) memcpy(answers + i * LENGTH, ANSWER, LENGTH);
    event.data.fd = listener;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    fprintf(stderr, "Listening at: http://127.0.0.1:%d (pid %d)\n", ntohs(at.sin_port), getpid());

    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) continue;
                if (fd >= FDS) { close(fd); continue; }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                matched[fd] = 0;
                event.data.fd = fd;
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            ssize_t got = recv(fd, input, sizeof input, 0);
            ssize_t due = got > 0 ? heads(fd, got) * (ssize_t)LENGTH : -1;
            if (due < 0 || (due && send(fd, answers, due, MSG_NOSIGNAL) != due)) close(fd);
        }
    }
}
