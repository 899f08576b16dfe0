/* A closed-loop load of TLS handshakes: each connection makes one, has one request answered, and ends.
 *
 *     handshake_load PORT CONNECTIONS SECONDS full|resumed [1.2|1.3]
 *
 * `resumed` comes back with the ticket that the server gave last; a handshake that is not of the wanted kind, all
 * but the first of each connection, is an error, as is all but a whole response 200. Certificates are not checked.
 * Prints one line of JSON: {"requests": N, "errors": N, "seconds": S, "p50": MS, "p99": MS, "max": MS}, of the times
 * from connect to the end of the response. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, MICROS = 1000000 };

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
static unsigned taken[MICROS + 1]; /* exchanges that took so many µs; the last: that and more */
static unsigned long exchanges, errors;
static int poller, resumes;
static struct sockaddr_in to = {.sin_family = AF_INET};
static SSL_CTX *context;
static SSL_SESSION *ticket; /* the one that came last */

struct peer {
    SSL *tls;
    int fd, asked, answered, again;
    double since;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double percentile(double part) { /* in ms */
    unsigned long wanted = exchanges * part, seen = 0;
    int micros = 0;
    while (micros < MICROS && (seen += taken[micros]) < wanted) micros++;
    return micros / 1e3;
}

static int keep(SSL *tls, SSL_SESSION *session) { /* called by OpenSSL with each new ticket */
    (void)tls;
    SSL_SESSION_free(ticket);
    ticket = session;
    return 1; /* it is ours now */
}

static int start(struct peer *p) { /* connect anew; 0 where that fails */
    int one = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = p};
    p->since = now();
    p->asked = p->answered = 0;
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(p->fd, (void *)&to, sizeof to)) return 0;
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    p->tls = SSL_new(context);
    SSL_set_fd(p->tls, p->fd);
    SSL_set_connect_state(p->tls);
    if (resumes && ticket) SSL_set_session(p->tls, ticket);
    return epoll_ctl(poller, EPOLL_CTL_ADD, p->fd, &event) == 0;
}

static int step(struct peer *p) { /* 1: the response is here whole; 0: not yet; -1: closed, reset or wrong */
    char data[4096];
    int done;
    ERR_clear_error();
    if (!p->asked) {
        done = SSL_write(p->tls, REQUEST, sizeof REQUEST - 1); /* makes the handshake, too */
        if (done <= 0) return SSL_get_error(p->tls, done) == SSL_ERROR_WANT_READ ? 0 : -1;
        p->asked = 1;
        if (p->again && SSL_session_reused(p->tls) != resumes) return -1;
    }
    while ((done = SSL_read(p->tls, data, sizeof data)) > 0)
        p->answered = p->answered || (done > 12 && !memcmp(data, "HTTP/1.1 200", 12));
    switch (SSL_get_error(p->tls, done)) {
    case SSL_ERROR_WANT_READ: return 0;
    case SSL_ERROR_ZERO_RETURN: return p->answered ? 1 : -1;
    default: return -1;
    }
}

static void finish(struct peer *p, int ok) {
    double micros = (now() - p->since) * 1e6;
    if (ok) exchanges++, taken[micros < MICROS ? (int)micros : MICROS]++;
    else errors++;
    SSL_set_shutdown(p->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* the session stays good */
    SSL_free(p->tls);
    close(p->fd);
    p->again = 1;
}

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "usage: handshake_load PORT CONNECTIONS SECONDS full|resumed [1.2|1.3]\n"), 2;
    int count = atoi(argv[2]), open = 0, version = argc > 5 && !strcmp(argv[5], "1.2") ? TLS1_2_VERSION : TLS1_3_VERSION;
    struct peer *peers = calloc(count, sizeof *peers);
    struct epoll_event events[EVENTS];
    double began = now(), end = began + atof(argv[3]);

    signal(SIGPIPE, SIG_IGN);
    resumes = !strcmp(argv[4], "resumed");
    to.sin_port = htons(atoi(argv[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(0);
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep);
    for (int i = 0; i < count; i++) open += start(&peers[i]);
    errors += count - open;
    while (open && now() < end) {
        int ready = epoll_wait(poller, events, EVENTS, 100);
        for (int i = 0; i < ready; i++) {
            struct peer *p = events[i].data.ptr;
            int came = step(p);
            if (!came) continue;
            finish(p, came > 0);
            if (!start(p)) errors++, open--;
        }
    }
    printf("{\"requests\": %lu, \"errors\": %lu, \"seconds\": %.3f, ", exchanges, errors, now() - began);
    printf("\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}\n", percentile(0.5), percentile(0.99), percentile(1));
}
