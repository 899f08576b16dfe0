/* The floor under TLS: OpenSSL on each connection, and the one fixed answer.
 *
 *     tls_floor PORT PEM [close]     (the certificate and its key in one file; close: one answer on each connection) */
#include "floor.h"
#include "heads.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

static SSL_CTX *context;
static SSL *sessions[FDS];
static const char LAST[] = TEXT "Connection: close\r\nContent-Length: 13\r\n\r\nHello, World!";
static int closes;

static void fresh(int fd) {
    matched[fd] = awaited[fd] = 0;
    if (sessions[fd]) SSL_free(sessions[fd]); /* of whom had this number before */
    sessions[fd] = SSL_new(context);
    SSL_set_fd(sessions[fd], fd);
    SSL_set_accept_state(sessions[fd]);
}

static int ready(int fd) {
    SSL *session = sessions[fd];
    ERR_clear_error();
    int got = SSL_read(session, input, sizeof input); /* makes the handshake too */
    if (got <= 0) return SSL_get_error(session, got) == SSL_ERROR_WANT_READ;
    for (int due = heads(fd, got); due > 0; due--) {
        if (closes) return SSL_write(session, LAST, sizeof LAST - 1), SSL_shutdown(session), 0;
        if (SSL_write(session, ANSWER, LENGTH) != LENGTH) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(TLS_server_method());
    if (argc < 3 || SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[2], SSL_FILETYPE_PEM) != 1)
        return fprintf(stderr, "tls_floor: no certificate and key in %s\n", argc < 3 ? "-" : argv[2]), 1;
    closes = argc > 3;
    return serve(argv[1], "https");
}
