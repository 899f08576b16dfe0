/* A closed-loop load for a TCP echo service, as wrk speaks HTTP only.
 *
 *     echo_load PORT CONNECTIONS SECONDS
 *
 * Every connection keeps one message of 64 bytes in flight, checks that it comes back as it went, and sends
 * the next, whose bytes differ. A connection that is refused, closed or answers wrong bytes is one error and
 * is not opened again. Prints one line of JSON: {"round_trips": N, "errors": N, "seconds": S, "p50": MS, "p99": MS,
 * "max": MS}. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, EVENTS = 256, MICROS = 1000000 };

static unsigned taken[MICROS + 1]; /* round trips that took so many µs; the last: that and more */

struct peer {
    int fd, got;
    unsigned long turn;
    double since;
    char out[MESSAGE], in[MESSAGE];
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double percentile(unsigned long trips, double part) { /* in ms */
    unsigned long wanted = trips * part, seen = 0;
    int micros = 0;
    while (micros < MICROS && (seen += taken[micros]) < wanted) micros++;
    return micros / 1e3;
}

static void note(struct peer *p, double at) {
    double micros = (at - p->since) * 1e6;
    taken[micros < MICROS ? (int)micros : MICROS]++;
    p->since = at;
}

static int say(struct peer *p) { /* the next message: its turn, then filling that depends on it */
    p->turn++;
    p->got = 0;
    memset(p->out, 'a' + p->turn % 26, MESSAGE);
    memcpy(p->out, &p->turn, sizeof p->turn);
    return send(p->fd, p->out, MESSAGE, MSG_NOSIGNAL) == MESSAGE;
}

static int hear(struct peer *p) { /* 1: the whole echo is here; 0: not yet; -1: closed, reset or wrong */
    ssize_t got = recv(p->fd, p->in + p->got, MESSAGE - p->got, 0);
    if (got <= 0) return -1;
    p->got += got;
    if (p->got < MESSAGE) return 0;
    return memcmp(p->in, p->out, MESSAGE) ? -1 : 1;
}

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: echo_load PORT CONNECTIONS SECONDS\n"), 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    int count = atoi(argv[2]), open = 0, one = 1, poller = epoll_create1(0);
    unsigned long trips = 0, errors = 0;
    struct peer *peers = calloc(count, sizeof *peers);
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    double began = now(), end = began + atof(argv[3]);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < count; i++) {
        struct peer *p = &peers[i];
        p->fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        event.data.ptr = p;
        if (connect(p->fd, (void *)&to, sizeof to) || !say(p)) { errors++; continue; }
        p->since = now();
        epoll_ctl(poller, EPOLL_CTL_ADD, p->fd, &event);
        open++;
    }
    while (open && now() < end) {
        int ready = epoll_wait(poller, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) {
            struct peer *p = events[i].data.ptr;
            int heard = hear(p);
            if (heard > 0) trips++, note(p, now());
            if (heard < 0 || (heard > 0 && !say(p))) close(p->fd), errors++, open--;
        }
    }
    printf("{\"round_trips\": %lu, \"errors\": %lu, \"seconds\": %.3f, ", trips, errors, now() - began);
    printf("\"p50\": %.3f, \"p99\": %.3f, ", percentile(trips, 0.5), percentile(trips, 0.99));
    printf("\"max\": %.3f}\n", percentile(trips, 1));
}
